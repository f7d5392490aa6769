import { Unanswered } from './answers.js';
import { el } from './dom.js';

/** What failed and what to do about it, with a button to try again. */
export function problemText(error: unknown, again: (() => void) | null = null): HTMLElement {
  const remedy = error instanceof Unanswered ? error.remedy : null;
  return el(
    'div',
    { class: 'problem', role: 'alert' },
    el('p', {}, error instanceof Error ? error.message : String(error)),
    remedy === null ? null : el('p', { class: 'quiet' }, remedy),
    again && el('button', { type: 'button', onclick: again }, 'Try again'),
  );
}

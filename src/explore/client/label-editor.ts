import { type FeaturePage, MOST_LABEL, MOST_NOTE } from '../api.js';
import { Unanswered } from './answers.js';
import { el, refill } from './dom.js';
import type { PageContext } from './page-context.js';

/**
 * The label and the note of a feature: fields that look like text until used. They are saved when they lose focus and
 * on Enter; a failed save keeps the text and shows the error.
 */
export function labelEditor(page: FeaturePage, { source, warn, relist }: PageContext): HTMLElement {
  const { label, note } = page;
  if (!source.index.live.labels) {
    return el(
      'div',
      { class: 'labels' },
      label === null ? null : el('p', { class: 'label' }, label),
      note === null ? null : el('p', { class: 'note' }, note),
    );
  }
  const name = el('input', {
    ...{ class: 'label', type: 'text', maxlength: MOST_LABEL, placeholder: 'Add a label', 'aria-label': 'Label' },
    ...{ autocomplete: 'off', value: label ?? '' },
  });
  const text = el('textarea', {
    ...{ class: 'note', rows: 1, maxlength: MOST_NOTE, placeholder: 'Add a note', 'aria-label': 'Note' },
  });
  text.value = note ?? '';
  const state = el('p', { class: 'saved', role: 'status' });
  const saver = new LabelSaver(page, source, (sentence, failed) => {
    state.classList.toggle('failed', failed);
    refill(state, sentence);
    if (sentence === SAVED) relist();
    if (failed && !state.isConnected) warn(`${page.sae} ${page.feature}, “${name.value || text.value}”: ${sentence}`);
  });
  const save = () => saver.save(name.value, text.value);
  for (const field of [name, text]) field.addEventListener('change', save);
  name.addEventListener('keydown', ({ key, isComposing }) => key === 'Enter' && !isComposing && name.blur());
  text.addEventListener('keydown', (event) => event.key === 'Enter' && (event.ctrlKey || event.metaKey) && text.blur());
  for (const field of [name, text]) {
    field.addEventListener('keydown', (event) => {
      if ((event as KeyboardEvent).key !== 'Escape') return;
      [name.value, text.value] = [saver.label, saver.note];
      field.blur();
    });
  }
  return el('div', { class: 'labels' }, name, text, state);
}

const SAVED = 'Saved';

/** Saves one change after another, and only actual changes. */
class LabelSaver {
  label: string;
  note: string;
  private queue = Promise.resolve();

  constructor(
    private readonly page: FeaturePage,
    private readonly source: PageContext['source'],
    private readonly say: (sentence: string, failed: boolean) => void,
  ) {
    this.label = page.label ?? '';
    this.note = page.note ?? '';
  }

  save(label: string, note: string): void {
    this.queue = this.queue.then(() => this.saveNow(label, note));
  }

  private async saveNow(label: string, note: string): Promise<void> {
    if (label === this.label && note === this.note) return;
    const { sae, feature } = this.page;
    this.say('Saving', false);
    try {
      const saved = await this.source.saveLabel({ sae, feature, label: label || null, note: note || null });
      [this.label, this.note] = [saved.label ?? '', saved.note ?? ''];
      this.say(SAVED, false);
    } catch (error) {
      const { message, remedy } = error as Unanswered;
      this.say(`Not saved. ${message}${error instanceof Unanswered && remedy ? ` ${remedy}` : ''}`, true);
    }
  }
}

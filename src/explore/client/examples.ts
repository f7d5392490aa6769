import type { ExampleBand, FeatureExample, FeaturePage } from '../api.js';
import { el } from './dom.js';
import { activationText, integerText, roundText } from './format.js';
import { HEAT_LEVELS, heatLevel } from './heat.js';
import type { Lines } from './route.js';
import { tip } from './tip.js';
import { runningPieces, spokenToken } from './token-text.js';

/** Examples of a feature, band by band, each token coloured by f. */
export function exampleBands(
  { bands, max }: Pick<FeaturePage, 'bands' | 'max'>,
  lines: Lines,
  announce: (text: string) => void,
): HTMLElement {
  const shown = new Map<Element, FeatureExample>();
  const section = el(
    'div',
    { class: `bands ${lines}` },
    bands.map((band) => [
      el('h3', {}, bandTitle(band), el('span', { class: 'range' }, bandChoice(band))),
      el(
        'ol',
        { class: 'lines' },
        band.examples.map((example) => exampleLine(example, max, shown)),
      ),
    ]),
  );
  hovers(section, shown);
  moves(section, shown, announce);
  return section;
}

/** Legend of the colours: from 0 to the feature's maximum. */
export function heatLegend(max: number): HTMLElement {
  const steps = Array.from({ length: HEAT_LEVELS }, (_, i) => el('i', { class: `h${i + 1}` }));
  return el('span', { class: 'legend', 'aria-hidden': 'true' }, '0', el('span', {}, steps), activationText(max));
}

/** Tokens as running text, coloured by f; white space that would break the line is shown as a symbol. */
export function colouredTokens(
  tokens: readonly string[],
  levels: readonly number[],
  from: number,
  to: number,
  peak = -1,
): HTMLElement[] {
  return tokens.slice(from, to).map((token, i) => {
    const [level, isPeak] = [levels[from + i] ?? 0, from + i === peak];
    return el(
      'span',
      { class: `t${level > 0 ? ` h${level}` : ''}${isPeak ? ' peak' : ''}`, 'data-i': from + i },
      runningPieces(from + i === 0 ? token.replace(/^[ ▁]/, '') : token).map(({ text, mark }) =>
        mark ? el('span', { class: 'mark' }, text) : text,
      ),
    );
  });
}

function bandTitle({ band, from, to }: ExampleBand): string {
  return band === 0 ? 'Strongest' : `f from ${roundText(from)} to ${roundText(to)}`;
}

/** How the examples of a band were selected. */
function bandChoice({ band, examples }: ExampleBand): string {
  return band === 0 ? 'one per context' : `band ${band}, ${examples.length} at random`;
}

function exampleLine(example: FeatureExample, max: number, shown: Map<Element, FeatureExample>): HTMLElement {
  const { tokens, activations, peak, value } = example;
  const levels = activations.map((f) => heatLevel(f, max));
  const label = `${activationText(value)} at “${spokenToken(tokens[peak] ?? '')}”: ${tokens.join('').replaceAll('▁', ' ')}`;
  const text = el(
    'div',
    { class: 'text', tabindex: 0, role: 'group', 'aria-label': label },
    el('span', { class: 'before' }, el('span', { class: 'run' }, colouredTokens(tokens, levels, 0, peak))),
    el('span', { class: 'after' }, colouredTokens(tokens, levels, peak, tokens.length, peak)),
    el('span', { class: 'where' }, whereText(example)),
  );
  // The token that a context begins with is not text; it has no features.
  if (example.first === 0 && /^<[^<>]+>$/.test(tokens[0] ?? '')) text.querySelector('.t')?.classList.add('left-out');
  shown.set(text, example);
  return el('li', {}, el('span', { class: 'value' }, activationText(value)), text);
}

function whereText({ context, position }: FeatureExample): string {
  return `context ${integerText(context)}, token ${integerText(position)}`;
}

/** Hovering over a token shows its activation; a click expands a truncated line. */
function hovers(section: HTMLElement, shown: ReadonlyMap<Element, FeatureExample>): void {
  section.addEventListener('pointerover', ({ target }) => {
    const token = (target as Element).closest('.t');
    const example = token && shown.get(token.closest('.text')!);
    if (example) showToken(token, example);
    else tip.hide();
  });
  section.addEventListener('pointerleave', () => tip.hide());
  section.addEventListener('click', ({ target }) => {
    const line = (target as Element).closest('.text');
    if (line && String(getSelection()) === '') line.classList.toggle('open');
  });
}

function showToken(token: Element, example: FeatureExample): void {
  const i = Number(token.getAttribute('data-i'));
  const f = activationText(example.activations[i] ?? 0);
  tip.show(token, f, `token ${integerText(example.first + i)} of context ${integerText(example.context)}`);
}

/** Arrow keys move along the tokens of a line, and between lines. */
function moves(section: HTMLElement, shown: ReadonlyMap<Element, FeatureExample>, announce: (text: string) => void) {
  const at = new WeakMap<Element, number>();
  const point = (line: Element, i: number) => {
    const example = shown.get(line)!;
    const index = Math.min(example.tokens.length - 1, Math.max(0, i));
    at.set(line, index);
    for (const one of line.querySelectorAll('.at')) one.classList.remove('at');
    const token = line.querySelector(`[data-i="${index}"]`)!;
    token.classList.add('at');
    showToken(token, example);
    announce(`${spokenToken(example.tokens[index]!)}: ${activationText(example.activations[index] ?? 0)}`);
  };
  section.addEventListener('keydown', (event) => {
    const line = (event.target as Element).closest('.text');
    const example = line && shown.get(line);
    if (!example || event.ctrlKey || event.metaKey || event.altKey) return;
    const now = at.get(line) ?? example.peak;
    const lines = [...shown.keys()];
    const focusLine = (step: number) => (lines[lines.indexOf(line) + step] as HTMLElement | undefined)?.focus();
    const actions: Record<string, () => void> = {
      ArrowLeft: () => point(line, now - 1),
      ArrowRight: () => point(line, now + 1),
      Home: () => point(line, 0),
      End: () => point(line, example.tokens.length - 1),
      ArrowDown: () => focusLine(1),
      ArrowUp: () => focusLine(-1),
      Enter: () => line.classList.toggle('open'),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  });
  section.addEventListener('focusout', ({ target }) => {
    for (const one of (target as Element).querySelectorAll('.at')) one.classList.remove('at');
    at.delete(target as Element);
    tip.hide();
  });
}

import { el } from './dom.js';

/** A key's action, outside of fields. */
export interface Shortcut {
  readonly keys: readonly string[];
  /** Text in the help; null: not listed. */
  readonly meaning: string | null;
  run(): void;
}

/**
 * Single-key shortcuts, inactive while typing or choosing in a field, or with a modifier key. Escape leaves a field,
 * which reactivates them.
 */
export function listenForKeys(shortcuts: readonly Shortcut[]): void {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.isComposing) return;
    const { target } = event;
    if (!(target instanceof HTMLElement)) return;
    if (target.closest('dialog[open]')) return;
    if (target.closest('input, textarea, select')) {
      if (event.key === 'Escape') target.blur();
      return;
    }
    const shortcut = shortcuts.find(({ keys }) => keys.includes(event.key));
    if (!shortcut) return;
    event.preventDefault();
    shortcut.run();
  });
}

const SIGNS: Readonly<Record<string, string>> = { ArrowDown: '↓', ArrowUp: '↑', Escape: 'Esc' };

/** Lists the shortcuts. */
export function keyHelp(shortcuts: readonly Shortcut[]): HTMLDialogElement {
  const more: readonly (readonly [readonly string[], string])[] = [
    [['←', '→'], 'in an example: from token to token'],
    [['↑', '↓'], 'in an example: from line to line'],
    [['Enter'], 'in an example: show the full line'],
  ];
  const listed = [
    ...shortcuts.flatMap(({ keys, meaning }) => (meaning === null ? [] : [[keys, meaning] as const])),
    ...more,
  ];
  const rows = listed.map(([keys, meaning]) =>
    el(
      'div',
      {},
      el(
        'dt',
        {},
        keys.map((key) => [el('kbd', {}, SIGNS[key] ?? key), ' ']),
      ),
      el('dd', {}, meaning),
    ),
  );
  const close = el('button', { type: 'button', 'aria-label': 'Close' }, '×');
  const dialog = el('dialog', { class: 'keys', 'aria-labelledby': 'keys-title' }, close);
  dialog.append(el('h2', { id: 'keys-title' }, 'Keyboard'), el('dl', {}, rows));
  close.addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', ({ target }) => target === dialog && dialog.close());
  return dialog;
}

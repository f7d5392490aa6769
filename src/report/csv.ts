import type { Entry } from './entries.js';
import { FURTHER_COLUMNS, HEADLINE_COLUMNS } from './table.js';

/** A cell as RFC 4180 has it. */
function cell(value: string | number): string {
  const text = typeof value === 'number' ? (Number.isFinite(value) ? String(value) : '') : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * The report's tables as one of comma-separated values: a row per SAE, every digit of every number, an empty cell where
 * there is none, and the two ends of each interval. Names of columns are the keys of eval.json.
 */
export function csvOf(entries: readonly Entry[]): string {
  const columns = [...HEADLINE_COLUMNS, ...FURTHER_COLUMNS];
  const head = columns.flatMap(({ key, interval }) => (interval ? [key, `${key}_low`, `${key}_high`] : [key]));
  const rows = entries.map(({ record, name, family }) => [
    ...[
      name.replaceAll('\u00A0', ' '),
      record.sae,
      family,
      record.architecture,
      record.model,
      record.hook,
      record.tokens,
    ],
    ...columns.flatMap(({ value, interval }) => {
      const measured = value(record) ?? Number.NaN;
      const [low, high] = (interval && record.intervals?.[interval]) ?? [Number.NaN, Number.NaN];
      return interval ? [measured, low, high] : [measured];
    }),
  ]);
  const names = ['name', 'sae', 'family', 'architecture', 'model', 'hook', 'tokens', ...head];
  return [names, ...rows].map((row) => `${row.map(cell).join(',')}\r\n`).join('');
}

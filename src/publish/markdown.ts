import { stringify } from 'yaml';
import { oneLine } from '../errors/refusal.js';

/** Bytes of a text from a file that a card shows, at most. */
const MOST_SHOWN = 300;

/** Text from a file as inline code: whatever it holds, it is not read as markup. */
export function code(text: string): string {
  const plain = oneLine(text).slice(0, MOST_SHOWN).replaceAll('`', "'").replaceAll('|', '¦').trim();
  return `\`${plain === '' ? ' ' : plain}\``;
}

export type Row = readonly [name: string, ...cells: string[]];

/** A table of Markdown. */
export function table(head: Row, rows: readonly Row[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** A card: its front matter, keys without a value left out, and its parts with an empty line between. */
export function card(matter: Readonly<Record<string, unknown>>, parts: readonly string[]): string {
  const known = Object.fromEntries(Object.entries(matter).filter(([, value]) => value !== undefined));
  return `---\n${stringify(known)}---\n\n${parts.join('\n\n')}\n`;
}

/** A whole number with its thousands apart: 2,000,000. */
export const whole = (value: number): string => value.toLocaleString('en-US', { maximumFractionDigits: 0 });

export const block = (language: string, ...lines: readonly string[]): string =>
  [`\`\`\`${language}`, ...lines, '```'].join('\n');

import { stringify } from 'yaml';
import { oneLine } from '../errors/refusal.js';

/** Max bytes of text from a file shown in a card. */
const MOST_SHOWN = 300;

/** Text from a file as inline code, so that it is never read as markup. */
export function code(text: string): string {
  const plain = oneLine(text).slice(0, MOST_SHOWN).replaceAll('`', "'").replaceAll('|', '¦').trim();
  return `\`${plain === '' ? ' ' : plain}\``;
}

export type Row = readonly [name: string, ...cells: string[]];

/** A Markdown table. */
export function table(head: Row, rows: readonly Row[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** A card: its front matter without empty keys, and its parts separated by blank lines. */
export function card(matter: Readonly<Record<string, unknown>>, parts: readonly string[]): string {
  const known = Object.fromEntries(Object.entries(matter).filter(([, value]) => value !== undefined));
  return `---\n${stringify(known)}---\n\n${parts.join('\n\n')}\n`;
}

/** An integer with thousands separators: 2,000,000. */
export const whole = (value: number): string => value.toLocaleString('en-US', { maximumFractionDigits: 0 });

export const block = (language: string, ...lines: readonly string[]): string =>
  [`\`\`\`${language}`, ...lines, '```'].join('\n');

import { readFileSync, writeFileSync } from 'node:fs';

/** Puts `text` between `<!-- name:begin -->` and `<!-- name:end -->` of a document. */
export function replaceSection(path: string, name: string, text: string): void {
  const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`];
  const document = readFileSync(path, 'utf8');
  const [from, to] = [document.indexOf(begin), document.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${path} has no section ${name}`);
  writeFileSync(path, `${document.slice(0, from + begin.length)}\n${text.trim()}\n${document.slice(to)}`);
}

/** A Markdown table; all columns but the first are right-aligned. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i ? '--:' : '---'))), ...rows.map(line)].join('\n');
}

/**
 * Markup that is safe to put into the page as it stands.
 *
 * A class, not a string, so that the compiler and the template below can tell it from text: text is always escaped.
 */
export class Markup {
  constructor(readonly text: string) {}

  toString(): string {
    return this.text;
  }
}

/** What a template may hold. Text is escaped, numbers are coordinates (two decimals), nothing is left out silently. */
export type Part = Markup | string | number | null | readonly Part[];

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** What HTML or XML forbids, escaped or not: controls but tab and newline, halves of surrogate pairs, noncharacters. */
const FORBIDDEN = /(?![\n\t])[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/gu;

/** The text with U+FFFD in place of characters that no document may hold: names and settings come out of files. */
export function withoutForbidden(text: string): string {
  return text.replace(FORBIDDEN, '\uFFFD');
}

/** Text as HTML and XML both want it, in element content and in quoted attributes. */
export function escapeText(text: string): string {
  return withoutForbidden(text).replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}

/** A coordinate with two decimals at most. */
export function coordinate(value: number): string {
  if (!Number.isFinite(value)) throw new RangeError(`${value} is no coordinate: filter values before they are scaled`);
  return String(Math.round(value * 100) / 100);
}

function write(part: Part): string {
  if (part === null) return '';
  if (part instanceof Markup) return part.text;
  if (typeof part === 'string') return escapeText(part);
  if (typeof part === 'number') return coordinate(part);
  return part.map(write).join('');
}

/** Template tag for HTML and SVG: what is written in the source stands, what is interpolated is escaped. */
export function markup(literal: TemplateStringsArray, ...parts: Part[]): Markup {
  let text = literal[0] ?? '';
  for (const [i, part] of parts.entries()) text += write(part) + (literal[i + 1] ?? '');
  return new Markup(text);
}

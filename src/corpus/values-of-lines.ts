import { Refusal } from '../errors/refusal.js';
import type { Remarks } from './encodings.js';
import { LinesOfText, valueOfLine } from './json-lines.js';
import { type DocumentPlace, fileBegin } from './text-position.js';

/** Max characters of a line whose value is held in memory. */
export const LONGEST_LINE = 2 ** 24;

/** A value from a file, and its location. */
export interface FoundValue {
  readonly value: unknown;
  readonly source: string;
  readonly place: DocumentPlace;
}

/** Key or column of non-text values, and the flag that names it. */
export interface ValueField {
  readonly field: string;
  readonly flag: 'chat-field' | 'ids-field';
}

/**
 * The values of a key in lines of JSON, held in memory; lines with null there are skipped.
 *
 * @param text of the file, in pieces
 * @param begin position at which `text` starts
 * @throws Refusal naming file and line
 */
export async function* valuesOfLines(
  file: string,
  text: AsyncGenerator<string>,
  { field, flag }: ValueField,
  remarks: Remarks,
  begin = fileBegin(),
): AsyncGenerator<FoundValue> {
  const lines = new LinesOfText(text, begin);
  try {
    for (let { row } = begin; await lines.more(); row++) {
      const source = `${file}:${row + 1}`;
      const place = { row, byte: lines.byte };
      const line = await lines.take(LONGEST_LINE);
      if (line === undefined) throw tooLong(source, flag);
      const value = valueOfLine(line, source, field, flag, isAnything);
      if (value === null) remarks.addNull();
      else if (value !== undefined) yield { value, source, place };
    }
  } finally {
    await text.return(undefined);
  }
}

const isAnything = (_: unknown): _ is unknown => true;

function tooLong(source: string, flag: ValueField['flag']): Refusal {
  const [what, code] =
    flag === 'chat-field'
      ? (['conversation', 'corpus/chat-too-long'] as const)
      : (['list of token ids', 'corpus/ids-too-long'] as const);
  return new Refusal(
    `${source} has more than ${LONGEST_LINE} characters; a ${what} must fit in memory.`,
    'Split the line.',
    code,
  );
}

import { type CsvError, type Parser, parse } from 'csv-parse';
import { Refusal } from '../errors/refusal.js';
import type { Document } from './contexts.js';

/** Max bytes of a record: an unclosed quote would take everything after it. */
const LONGEST_RECORD = 2 ** 24;

/**
 * Documents of a table whose first record names its columns (RFC 4180): one per record, with the text in one column.
 * Quoted fields may contain line ends; empty lines are skipped.
 *
 * @param text of the file, in pieces
 * @throws Refusal naming file and line of a record with a wrong number of fields or a wrong quote
 */
export async function* csvDocuments(
  file: string,
  text: AsyncGenerator<string>,
  delimiter: string,
  textField: string,
): AsyncGenerator<Document> {
  const records = recordsOf(file, text, delimiter);
  try {
    const { value: header, done } = await records.next();
    if (done) throw noColumn(file, textField, []);
    const column = columnOf(file, header.record, textField);
    let row = 0;
    for await (const { record, line } of records) {
      if (record.length !== header.record.length) throw ragged(file, line, record.length, header.record.length);
      yield { pieces: [record[column]!], source: `${file}:${line}`, place: { row, byte: 0 } };
      row++;
    }
  } finally {
    await records.return(undefined);
  }
}

function columnOf(file: string, header: readonly string[], textField: string): number {
  const column = header.indexOf(textField);
  if (column < 0) throw noColumn(file, textField, header);
  if (column === header.lastIndexOf(textField)) return column;
  throw new Refusal(`${file} has "${textField}" twice in its header.`, 'Rename one of them.', 'corpus/text-twice');
}

/** Records, each with its first line number, counted from 1. Records before a broken one are returned. */
async function* recordsOf(
  file: string,
  text: AsyncGenerator<string>,
  delimiter: string,
): AsyncGenerator<{ record: readonly string[]; line: number }> {
  const parser = new Records(delimiter);
  let line = 1;
  try {
    for (let over = false; !over; ) {
      const { value: piece, done } = await text.next();
      over = done === true;
      const failure = await (over ? parser.end() : parser.push(piece!));
      for (const record of parser.take()) {
        const blank = record.length === 1 && record[0] === '';
        if (!blank) yield { record, line };
        line += 1 + record.reduce((sum, field) => sum + (field.match(LINE_END)?.length ?? 0), 0);
      }
      if (failure) throw brokenRecord(file, line, failure);
    }
  } finally {
    parser.close();
    await text.return(undefined);
  }
}

const LINE_END = /\r\n|\n|\r/g;

/** csv-parse, fed one piece of text at a time: as a stream it would lose its buffered records on an error. */
class Records {
  private held: (readonly string[])[] = [];
  private readonly parser: Parser;

  constructor(delimiter: string) {
    this.parser = parse({
      ...{ delimiter, relax_column_count: true, max_record_size: LONGEST_RECORD },
      record_delimiter: ['\r\n', '\n', '\r'],
      on_record: (record: string[]) => {
        this.held.push(record);
        return null;
      },
    });
    // Reported by the write that fails.
    this.parser.on('error', () => {});
  }

  /** @returns what is wrong with the text */
  push(piece: string): Promise<Error | undefined> {
    return new Promise((resolve) => this.parser.write(piece, (error) => resolve(error ?? undefined)));
  }

  end(): Promise<Error | undefined> {
    return new Promise((resolve) => this.parser.end((error?: Error | null) => resolve(error ?? undefined)));
  }

  take(): (readonly string[])[] {
    const taken = this.held;
    this.held = [];
    return taken;
  }

  close(): void {
    this.parser.destroy();
  }
}

function noColumn(file: string, textField: string, columns: readonly string[]): Refusal {
  const there = columns.length > 0 ? columns.join(', ') : 'none, it is empty';
  return new Refusal(
    `${file} has no column "${textField}" (its columns: ${there}).`,
    'Give the column with --text-field; the first line of the file names its columns.',
    'corpus/no-text-column',
  );
}

function ragged(file: string, line: number, fields: number, wanted: number): Refusal {
  return new Refusal(
    `${file}:${line} has ${fields} ${fields === 1 ? 'field' : 'fields'}, but the header has ${wanted}.`,
    'Put fields with separators or line ends into double quotes.',
    'corpus/ragged-row',
  );
}

function brokenRecord(file: string, line: number, cause: Error): Refusal {
  const { code } = cause as CsvError;
  const what =
    code === 'CSV_QUOTE_NOT_CLOSED'
      ? 'has a quote that is never closed'
      : code === 'CSV_MAX_RECORD_SIZE'
        ? `begins a row of more than ${LONGEST_RECORD / 2 ** 20} MiB, most likely because of an unclosed quote`
        : 'has a quote within a field';
  return new Refusal(
    `${file}:${line} ${what}.`,
    'Put fields that contain quotes into double quotes, and double each quote within them.',
    'corpus/wrong-quote',
    { cause },
  );
}

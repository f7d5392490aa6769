import { isUtf8 } from 'node:buffer';
import { parentPort, workerData } from 'node:worker_threads';
import { firstWrong, wholeCharacters } from './decoders.js';
import { guessEncoding } from './guess.js';
import { NoTextColumn, openTextColumn } from './parquet-pages.js';

/** What the worker is given. */
export interface ParquetTask {
  readonly file: string;
  readonly textField: string;
}

/** Part of a row's text. */
export interface RowPart {
  /** Null: the row has no text. */
  readonly text: string | null;
  /** The row ends with it. */
  readonly last: boolean;
}

/** What it answers, once each time it is asked. */
export type ParquetReply =
  | { readonly kind: 'parts'; readonly parts: readonly RowPart[] }
  | { readonly kind: 'end' }
  | { readonly kind: 'no text'; readonly what: string; readonly columns: readonly string[] }
  | { readonly kind: 'not utf-8'; readonly row: number; readonly at: number; readonly looksLike: string }
  | { readonly kind: 'failed'; readonly reason: string };

/** Of a reply, at most; they are copied to the other thread. Characters are exceeded by those of one part. */
const MOST = { parts: 1000, characters: 2 ** 18 };
/** Bytes of a part, at most. */
const PART = 2 ** 18;

/** The texts of the column, page by page, in replies of bounded size. */
async function* read({ file, textField }: ParquetTask): AsyncGenerator<ParquetReply> {
  const column = await openTextColumn(file, textField);
  try {
    let parts: RowPart[] = [];
    let characters = 0;
    let row = 0;
    for await (const values of column.pages()) {
      for (const value of values) {
        const bytes = value && Buffer.from(value.buffer, value.byteOffset, value.byteLength);
        if (bytes && !isUtf8(bytes)) {
          const at = firstWrong(bytes, false);
          yield { kind: 'not utf-8', row, at, looksLike: guessEncoding(bytes, bytes.subarray(at)).what };
          return;
        }
        for (const part of bytes ? partsOf(bytes) : NULL) {
          parts.push(part);
          characters += part.text?.length ?? 0;
          if (parts.length < MOST.parts && characters < MOST.characters) continue;
          yield { kind: 'parts', parts };
          parts = [];
          characters = 0;
        }
        row++;
      }
    }
    if (parts.length > 0) yield { kind: 'parts', parts };
  } finally {
    await column.close();
  }
}

const NULL: readonly RowPart[] = [{ text: null, last: true }];

function* partsOf(bytes: Buffer): Generator<RowPart> {
  let from = 0;
  while (bytes.length - from > PART) {
    const part = bytes.subarray(from, from + PART);
    const whole = part.subarray(0, wholeCharacters(part));
    yield { text: whole.toString('utf8'), last: false };
    from += whole.length;
  }
  yield { text: bytes.toString('utf8', from), last: true };
}

function failure(cause: unknown): ParquetReply {
  if (cause instanceof NoTextColumn) return { kind: 'no text', what: cause.what, columns: cause.columns };
  return { kind: 'failed', reason: cause instanceof Error ? cause.message : String(cause) };
}

if (!parentPort) throw new Error('parquet-worker.js runs in a worker thread');
const port = parentPort;
const replies = read(workerData as ParquetTask);
port.on('message', () => {
  replies.next().then(
    ({ value, done }) => port.postMessage(done ? { kind: 'end' } : value),
    (cause) => port.postMessage(failure(cause)),
  );
});

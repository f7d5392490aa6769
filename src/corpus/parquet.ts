import { Refusal, refusalFrom } from '../errors/refusal.js';
import { Thread } from '../progress/thread.js';
import type { Document } from './contexts.js';
import type { Remarks } from './encodings.js';
import type { ParquetReply, ParquetTask, RowPart } from './parquet-worker.js';
import { type FilePlace, placeName } from './remote-file.js';

/**
 * Heap limit for the reader in MiB; pages are allocated outside of it. Lengths in a Parquet file (of runs, of pages)
 * are trusted by the library, and a damaged one would fill all memory and kill the process.
 */
const HEAP = 512;

/**
 * Documents of a Parquet file, page by page; rows without a text are skipped. Read in a separate thread, so that
 * running out of memory becomes an error. Between replies the thread is idle and does not keep the process alive.
 *
 * @param from first row
 * @throws Refusal if it is damaged, has no such column, or a text is not UTF-8
 */
export async function* readParquetDocuments(
  place: FilePlace,
  textField: string,
  remarks: Remarks,
  from = 0,
): AsyncGenerator<Document> {
  const file = placeName(place);
  const task: ParquetTask = { place, textField, from };
  const reader: ParquetReader = new Thread(new URL('parquet-worker.js', import.meta.url), {
    name: 'its reader',
    data: task,
    resourceLimits: { maxOldGenerationSizeMb: HEAP },
    idle: true,
  });
  try {
    const parts = rowParts(reader, file, textField);
    for (let row = from; ; row++) {
      const { value: first, done } = await parts.next();
      if (done) return;
      if (first.text === null) remarks.addNull();
      else {
        let part: RowPart = first;
        const pieces = async function* () {
          for (; ; part = await nextOf(parts)) {
            if (part.text) yield part.text;
            if (part.last) return;
          }
        };
        const at = { source: `${file}, row ${row}`, place: { row, byte: 0 } };
        yield { pieces: first.last ? [first.text] : pieces(), ...at };
        // If the caller did not read it to the end, continue with the next row.
        while (!part.last) part = await nextOf(parts);
      }
    }
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    throw unreadableParquet(
      file,
      code === 'ERR_WORKER_OUT_OF_MEMORY' ? 'it claims more than fits in memory' : message,
      cause,
    );
  } finally {
    await reader.terminate();
  }
}

type ParquetReader = Thread<'next', ParquetReply>;

async function nextOf(parts: AsyncGenerator<RowPart>): Promise<RowPart> {
  const { value, done } = await parts.next();
  return done ? { text: null, last: true } : value;
}

async function* rowParts(reader: ParquetReader, file: string, textField: string): AsyncGenerator<RowPart> {
  for (;;) {
    reader.ask('next');
    const reply = await reader.reply();
    if (reply.kind === 'end') return;
    if (reply.kind !== 'parts') throw refusedParquet(reply, file, textField);
    yield* reply.parts;
  }
}

/**
 * @param field column that was looked for
 * @param flag flag that names it
 */
export function refusedParquet(
  reply: Exclude<ParquetReply, { kind: 'parts' | 'end' }>,
  file: string,
  field: string,
  flag = 'text-field',
): Refusal {
  switch (reply.kind) {
    case 'no text':
      return new Refusal(
        `${file} ${reply.what} (its columns: ${reply.columns.join(', ')}).`,
        `Give the column with --${flag}.`,
        'corpus/no-text-column',
      );
    case 'not utf-8':
      return wrongText(`${file}, row ${reply.row}`, field, reply.at, reply.looksLike);
    case 'refused':
      return refusalFrom(reply);
    default:
      return unreadableParquet(file, reply.reason);
  }
}

/** @param at first byte that is not UTF-8 */
export function wrongText(source: string, column: string, at: number, looksLike: string): Refusal {
  return new Refusal(
    `${source}: "${column}" is not valid UTF-8 at byte ${at}; it looks like ${looksLike}.`,
    'Rewrite the column as UTF-8 strings.',
    'corpus/wrong-encoding',
  );
}

export function unreadableParquet(file: string, reason: string, cause?: unknown): Refusal {
  return new Refusal(
    `${file} could not be read as Parquet: ${reason}.`,
    'Write or fetch the file again.',
    'corpus/broken-parquet',
    { cause },
  );
}

import { Refusal, refusalFrom } from '../errors/refusal.js';
import { Thread } from '../progress/thread.js';
import type { Document } from './contexts.js';
import type { Remarks } from './encodings.js';
import type { ParquetReply, ParquetTask, RowPart } from './parquet-worker.js';
import { type FilePlace, placeName } from './remote-file.js';

/**
 * Heap for reading a file, in MiB; pages are outside of it. Lengths within a Parquet file (of runs, of pages) are believed
 * by its reader, and a damaged one would fill all memory and end the process.
 */
const HEAP = 512;

/**
 * Documents of a Parquet file, page by page; rows without a text are passed over. It is read in a separate thread, whose
 * end by want of memory is an answer. The thread is idle between replies and does not keep the process alive then.
 *
 * @param from row to begin at
 * @throws Refusal where it is broken, has no such column, or a text is not UTF-8
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
        // A caller that did not read it to its end continues with the next row.
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
 * @param field the column that was looked for
 * @param flag that names it
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
        `Name the column with --${flag}.`,
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

/** @param at its first byte that is not UTF-8 */
export function wrongText(source: string, column: string, at: number, looksLike: string): Refusal {
  return new Refusal(
    `${source}: "${column}" is not valid UTF-8 at its byte ${at}; it looks like ${looksLike}.`,
    'Write the column anew as UTF-8 strings.',
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

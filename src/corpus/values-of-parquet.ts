import { Refusal, refusalFrom } from '../errors/refusal.js';
import { Thread } from '../progress/thread.js';
import type { Remarks } from './encodings.js';
import { refusedParquet, unreadableParquet } from './parquet.js';
import { type FilePlace, placeName } from './remote-file.js';
import type { FoundValue, ValueField } from './values-of-lines.js';
import type { ParquetValuesReply, ParquetValuesTask } from './values-of-parquet-worker.js';

/** Heap limit in MiB for a row group of lists, which is decoded as a whole. */
const HEAP = 2048;

/**
 * Values of a column as JSON, one row group at a time, in a separate thread; null rows are skipped.
 *
 * @param from first row
 * @throws Refusal if the file is damaged, or has no such column
 */
export async function* valuesOfParquet(
  place: FilePlace,
  { field, flag }: ValueField,
  remarks: Remarks,
  from = 0,
): AsyncGenerator<FoundValue> {
  const file = placeName(place);
  const reader = new Thread<'next', ParquetValuesReply>(new URL('values-of-parquet-worker.js', import.meta.url), {
    name: 'its reader',
    data: { place, field, from } satisfies ParquetValuesTask,
    resourceLimits: { maxOldGenerationSizeMb: HEAP },
    idle: true,
  });
  let row = from;
  try {
    for (;;) {
      reader.ask('next');
      const reply = await reader.reply();
      if (reply.kind === 'end') return;
      if (reply.kind === 'refused') throw refusalFrom(reply);
      if (reply.kind !== 'rows') throw refusedParquet(reply, file, field, flag);
      for (const value of reply.rows) {
        const at = { source: `${file}, row ${row}`, place: { row, byte: 0 } };
        row++;
        if (value === null) remarks.addNull();
        else yield { value, ...at };
      }
    }
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    const large = code === 'ERR_WORKER_OUT_OF_MEMORY';
    throw unreadableParquet(file, large ? 'a row group claims more than fits in memory' : message, cause);
  } finally {
    await reader.terminate();
  }
}

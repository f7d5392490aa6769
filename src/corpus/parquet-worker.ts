import { parentPort, workerData } from 'node:worker_threads';
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';

/** What the worker is given. */
export interface ParquetTask {
  readonly file: string;
  readonly textField: string;
}

/** What it answers, once each time it is asked. */
export type ParquetReply =
  | { readonly kind: 'values'; readonly values: readonly unknown[] }
  | { readonly kind: 'end' }
  | { readonly kind: 'no column'; readonly columns: readonly string[] }
  | { readonly kind: 'failed'; readonly reason: string };

/** Values of a reply, at most: they are copied to the other thread. */
const PIECE = 1000;

/** The values of the column, row group by row group, in pieces. */
async function* read({ file, textField }: ParquetTask): AsyncGenerator<ParquetReply> {
  const buffer = await asyncBufferFromFile(file);
  const metadata = await parquetMetadataAsync(buffer);
  const columns = metadata.schema.filter((element) => element.num_children === undefined).map(({ name }) => name);
  if (!columns.includes(textField)) {
    yield { kind: 'no column', columns };
    return;
  }
  let rowStart = 0;
  for (const group of metadata.row_groups) {
    const rowEnd = rowStart + Number(group.num_rows);
    const rows = await parquetReadObjects({ file: buffer, metadata, columns: [textField], rowStart, rowEnd });
    for (let i = 0; i < rows.length; i += PIECE) {
      // Nothing but text is wanted, and not everything else can be copied.
      const values = rows.slice(i, i + PIECE).map((row) => {
        const value: unknown = row[textField];
        return typeof value === 'string' ? value : null;
      });
      yield { kind: 'values', values };
    }
    rowStart = rowEnd;
  }
}

if (!parentPort) throw new Error('parquet-worker.js runs in a worker thread');
const port = parentPort;
const replies = read(workerData as ParquetTask);
port.on('message', () => {
  replies.next().then(
    ({ value, done }) => port.postMessage(done ? { kind: 'end' } : value),
    (cause) => port.postMessage({ kind: 'failed', reason: cause instanceof Error ? cause.message : String(cause) }),
  );
});

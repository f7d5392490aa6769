import type { Writable } from 'node:stream';
import { AsyncByteQueue, RecordBatchStreamWriter } from 'apache-arrow';
import { Refusal } from '../config/refusal.js';
import { refusedWrite } from '../disk/refused-write.js';
import type { StopRequest } from '../progress/progress.js';
import { unlessStopped } from '../progress/unless-stopped.js';
import { type Rows, rowsBatch } from './arrow-files.js';
import { type StreamHeader, streamSchema } from './stream-header.js';

/** Takes what Arrow's writer encodes, buffer by buffer and without copying, until it is sent. */
class Encoded extends AsyncByteQueue {
  private buffers: Uint8Array[] = [];

  override write(buffer: Uint8Array): void {
    this.buffers.push(buffer);
  }

  take(): Uint8Array[] {
    const taken = this.buffers;
    this.buffers = [];
    return taken;
  }
}

/**
 * Writes rows as an Arrow IPC stream. A piece is asked for when the one before has left: no more than one is ever held
 * here, however slow the reader. `out` is left open after a complete stream, and destroyed after any other.
 *
 * @param place what is written to, for messages
 * @throws Refusal when the reader goes away
 * @throws Interrupted when a stop is asked for while the reader takes nothing, or ends the reader
 */
export async function writeStream(
  out: Writable,
  header: StreamHeader,
  pieces: AsyncIterable<Rows>,
  place: string,
  stop: StopRequest,
): Promise<void> {
  const schema = streamSchema(header);
  const encoded = new Encoded();
  const writer = new RecordBatchStreamWriter().reset(encoded, schema);
  let rows = 0;
  const send = async () => {
    for (const buffer of encoded.take()) {
      await unlessStopped(written(out, buffer), stop, () => unfinished(rows, header, place));
    }
  };
  // A failed write is told by its callback; the event beside it would end the process.
  const heard = () => {};
  out.on('error', heard);
  try {
    await send();
    for await (const piece of pieces) {
      writer.write(rowsBatch(schema, piece));
      await send();
      rows += piece.token.length;
    }
    writer.close();
    await send();
    out.off('error', heard);
  } catch (cause) {
    out.destroy();
    throw failure(cause, rows, header, place);
  }
}

/** What an interrupted stream leaves behind. */
export function unfinished(rows: number, header: Pick<StreamHeader, 'rows'>, place: string): string {
  return `${rows} of ${header.rows} rows went to ${place}, and the stream is not complete.`;
}

function written(out: Writable, buffer: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    out.write(buffer, (error) => (error ? reject(error) : resolve()));
  });
}

const GONE = ['EPIPE', 'ECONNRESET', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_WRITE_AFTER_END'];

function failure(cause: unknown, rows: number, header: StreamHeader, place: string): unknown {
  if (!GONE.includes((cause as NodeJS.ErrnoException).code ?? '')) return refusedWrite(place, cause);
  return new Refusal(
    `The reader of ${place} went away after ${rows} of ${header.rows} rows.`,
    'See what it said, and run both ends of the pipe again.',
    { cause },
  );
}

import { type RecordBatch, RecordBatchReader, type Schema } from 'apache-arrow';
import { Refusal } from '../config/refusal.js';
import { type Rows, rowsOf } from './arrow-files.js';
import { notFiniteRow } from './finite.js';
import { UnsupportedIpc } from './ipc-check.js';
import { rowBytes } from './manifest.js';
import { readHeader, type StreamHeader } from './stream-header.js';
import { type Ending, type Message, StreamMessages } from './stream-messages.js';

/** Padding of the buffers of a record batch, at most, and validity bitmaps that other writers may add. */
const SLACK = 2 ** 16;

/** A stream of rows under way: its header, and its rows as they come. */
export class RowStream {
  /** Rows that have come. */
  rows = 0;
  private over = false;

  private constructor(
    readonly header: StreamHeader,
    private readonly place: string,
    private readonly messages: StreamMessages,
    private readonly schema: Message,
  ) {}

  /**
   * Reads the header.
   *
   * @param place what is read, for messages
   * @throws Refusal when it is no stream of rows, or one of another version
   */
  static async open(source: AsyncIterable<Uint8Array>, place: string): Promise<RowStream> {
    const messages = new StreamMessages(source);
    const first = await messages.next(0).catch((cause) => failedToRead(place, cause));
    if (first === 'cut off') {
      throw new Refusal(`${place} ended before its first row.`, 'The command that writes it says why.');
    }
    const found = typeof first === 'string' ? undefined : decode(first);
    if (found === undefined) {
      throw new Refusal(`${place} is not an Arrow stream.`, 'Feed it with `sae-pipe harvest … --out -`.');
    }
    return new RowStream(readHeader(found.schema, place), place, messages, first as Message);
  }

  /**
   * Rows of the next record batch; null after the last. The last rows are given only once the stream's end marker has
   * come, so whoever has them knows that the stream was complete.
   *
   * @throws Refusal when the stream ends early, or a batch is not what the header says
   */
  async next(): Promise<Rows | null> {
    if (this.over) return null;
    const { d_in, dtype, rows, rows_per_batch } = this.header;
    const message = await this.message(rows_per_batch * rowBytes(this.header) + rows_per_batch + SLACK);
    if (typeof message === 'string') throw this.endedBy(message);
    message.set(this.schema);
    const batch = decode(message)?.batch;
    if (batch === undefined) throw this.broken('it is no record batch');
    const came = rowsOf(batch, d_in, dtype, (what) => {
      throw this.broken(what);
    });
    const count = came.token.length;
    if (count > rows_per_batch) throw this.broken(`it has ${count} rows where ${rows_per_batch} are the most`);
    if (this.rows + count > rows) throw this.broken(`it goes on beyond the ${rows} rows of its header`);
    const wild = notFiniteRow(came, dtype, this.rows);
    if (wild) throw this.broken(wild);
    this.rows += count;
    if (this.rows === rows) {
      const end = await this.message(0);
      if (end !== 'end marker') throw this.endedBy(end === 'cut off' ? end : 'no message');
      this.over = true;
    }
    return came;
  }

  private message(mostBody: number): Promise<Message | Ending> {
    return this.messages.next(mostBody, this.schema.length).catch((cause) => failedToRead(this.place, cause));
  }

  private endedBy(ending: Ending): Refusal {
    if (ending === 'no message') return this.broken('what comes is no Arrow message');
    const { rows } = this.header;
    return new Refusal(
      this.rows === rows
        ? `${this.place} ended after ${rows} of ${rows} rows, without its end marker.`
        : `${this.place} ended after ${this.rows} of ${rows} rows.`,
      'The command that writes it failed or was stopped, and says why.',
    );
  }

  private broken(what: string): Refusal {
    return new Refusal(
      `${this.place} is broken after ${this.rows} of ${this.header.rows} rows: ${what}.`,
      'Feed it with `sae-pipe harvest … --out -`, and nothing else.',
    );
  }
}

function failedToRead(place: string, cause: unknown): never {
  if (cause instanceof UnsupportedIpc) {
    throw new Refusal(`${place} cannot be read: ${cause.message}.`, 'Feed it with `sae-pipe harvest … --out -`.');
  }
  const reason = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message;
  throw new Refusal(`${place} could not be read: ${reason}.`, 'Run both ends of the pipe again.', { cause });
}

/** Schema, and record batch where there is one, of bytes that begin with a schema; undefined where they are not that. */
function decode(bytes: Message): { schema: Schema; batch?: RecordBatch } | undefined {
  try {
    const reader = RecordBatchReader.from(bytes).open();
    const { value: batch, done } = reader.next();
    return { schema: reader.schema, batch: done ? undefined : batch };
  } catch {
    return undefined;
  }
}

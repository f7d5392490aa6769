import { createHash } from 'node:crypto';
import type { Writable } from 'node:stream';
import {
  AsyncByteQueue,
  type RecordBatch,
  RecordBatchReader,
  RecordBatchStreamWriter,
  type Schema,
} from 'apache-arrow';
import { z } from 'zod';
import { UnsupportedIpc } from '../disk/ipc-check.js';
import { type IpcMessage, type StreamEnding, StreamMessages } from '../disk/ipc-messages.js';
import { refusedWrite } from '../disk/refused.js';
import { Refusal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { unlessStopped } from '../progress/stop.js';
import type { SourceDescription } from './activation-source.js';
import { rowsBatch, rowsOf, rowsSchema } from './arrow-rows.js';
import { type Manifest, manifestSchema, normLimitIn, rowBytes } from './manifest.js';
import { notFiniteRow, type Rows } from './rows.js';

const STREAM_FORMAT = 'sae-pipe-activation-stream';
const STREAM_VERSION = 1;

/** Key of the header in the metadata of the stream's Arrow schema. */
export const HEADER_KEY = 'sae-pipe';

const headerSchema = manifestSchema
  .pick({
    model: true,
    hook: true,
    d_in: true,
    dtype: true,
    precision: true,
    context: true,
    bos_token_id: true,
    prepend_bos: true,
    exclude_special_tokens: true,
    max_activation_norm_multiple: true,
    median_activation_norm: true,
    corpus: true,
    text_field: true,
    encoding: true,
    documents: true,
    chat: true,
    seed: true,
    batch: true,
    window_batches: true,
  })
  .extend({
    format: z.literal(STREAM_FORMAT),
    version: z.literal(STREAM_VERSION),
    /** Rows that come. */
    rows: z.number().int().positive(),
    /** Max rows of a record batch. */
    rows_per_batch: z.number().int().positive(),
  });

/** The header of a stream, before its first row; keys are those of a store's manifest. */
export type StreamHeader = z.infer<typeof headerSchema>;

/** The header of a stream with the rows of the store that `manifest` begins. */
export function streamHeader(manifest: Manifest): StreamHeader {
  const { rows_wanted: rows, rows_per_shard: rows_per_batch, encoding, ...rest } = manifest;
  // A run resumes by its header, and was begun without this key before there was a choice.
  const other = encoding === undefined || encoding === 'utf-8' ? {} : { encoding };
  // Keys that only a store has are dropped by the schema.
  return headerSchema.parse({
    ...rest,
    ...other,
    format: STREAM_FORMAT,
    version: STREAM_VERSION,
    rows,
    rows_per_batch,
  });
}

/** The Arrow schema of the stream: columns of a shard, and the header as JSON in its metadata. */
export function streamSchema(header: StreamHeader): Schema {
  return rowsSchema(header.d_in, header.dtype, new Map([[HEADER_KEY, JSON.stringify(header)]]));
}

/**
 * The header in a stream's schema.
 *
 * @throws Refusal if it was not written by sae-pipe, or is of another version
 */
function readStreamHeader(schema: Schema, place: string): StreamHeader {
  const refused = (what: string) =>
    new Refusal(`${place} ${what}.`, 'Feed it with `sae-pipe harvest … --out -`.', 'activations/foreign-stream');
  const json = schema.metadata.get(HEADER_KEY);
  if (json === undefined) throw refused(`is an Arrow stream without "${HEADER_KEY}" in its metadata`);
  let header: unknown;
  try {
    header = JSON.parse(json);
  } catch {
    throw refused('is an Arrow stream whose header is not JSON');
  }
  const { format, version } = (header ?? {}) as { format?: unknown; version?: unknown };
  if (format === STREAM_FORMAT && version !== STREAM_VERSION) {
    throw new Refusal(
      `${place} is a stream of format version ${JSON.stringify(version)}, but this version of sae-pipe reads version ${STREAM_VERSION}.`,
      'Use the same version of sae-pipe at both ends of the pipe.',
      'activations/other-version',
    );
  }
  const parsed = headerSchema.safeParse(header);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw refused(`is an Arrow stream whose header is wrong at "${issue.path.join('.')}": ${issue.message}`);
}

/** A stream as training sees it before the first row. */
export function describeStream(header: StreamHeader, place: string): SourceDescription {
  const { model, hook, d_in, dtype, context, corpus, rows } = header;
  const { prepend_bos: prependBos, exclude_special_tokens: excludedTokens } = header;
  const normLimit = normLimitIn(header);
  const identity = createHash('sha256').update(JSON.stringify(header)).digest('hex');
  return {
    place,
    model,
    hook,
    dIn: d_in,
    dtype,
    context,
    prependBos,
    corpus,
    rows,
    meanNorm: null,
    identity,
    ...(excludedTokens && { excludedTokens }),
    ...(header.documents && { documents: header.documents }),
    ...(header.chat && { chat: header.chat }),
    ...(normLimit && { normLimit }),
  };
}

/** Max padding of the buffers of a record batch, and validity bitmaps that other writers may add. */
const SLACK = 2 ** 16;

/** An open stream of rows: its header, and its rows as they arrive. */
export class RowStream {
  /** Rows received so far. */
  rows = 0;
  private over = false;

  private constructor(
    readonly header: StreamHeader,
    private readonly place: string,
    private readonly messages: StreamMessages,
    private readonly schema: IpcMessage,
  ) {}

  /**
   * Reads the header.
   *
   * @param place what is read, for messages
   * @throws Refusal if it is not a stream of rows, or one of another version
   */
  static async open(source: AsyncIterable<Uint8Array>, place: string): Promise<RowStream> {
    const messages = new StreamMessages(source);
    const first = await messages.next(0).catch((cause) => failedToRead(place, cause));
    if (first === 'cut off') {
      throw new Refusal(
        `${place} ended before its first row.`,
        'See the error message of the command that writes it.',
        'activations/empty-stream',
      );
    }
    const found = typeof first === 'string' ? undefined : decodeMessage(first);
    if (found === undefined) {
      throw new Refusal(
        `${place} is not an Arrow stream.`,
        'Feed it with `sae-pipe harvest … --out -`.',
        'activations/not-arrow',
      );
    }
    return new RowStream(readStreamHeader(found.schema, place), place, messages, first as IpcMessage);
  }

  /**
   * Rows of the next record batch; null after the last. The last rows are returned only once the stream's end marker
   * has arrived, so whoever has them knows that the stream was complete.
   *
   * @throws Refusal if the stream ends early, or a batch does not match the header
   */
  async next(): Promise<Rows | null> {
    if (this.over) return null;
    const { d_in, dtype, rows, rows_per_batch } = this.header;
    const message = await this.message(rows_per_batch * rowBytes(this.header) + rows_per_batch + SLACK);
    if (typeof message === 'string') throw this.endedBy(message);
    message.set(this.schema);
    const batch = decodeMessage(message)?.batch;
    if (batch === undefined) throw this.broken('it is not a record batch');
    const came = rowsOf(batch, d_in, dtype, (what) => {
      throw this.broken(what);
    });
    const count = came.token.length;
    if (count > rows_per_batch) throw this.broken(`it has ${count} rows where ${rows_per_batch} are the most`);
    if (this.rows + count > rows) throw this.broken(`it continues beyond the ${rows} rows of its header`);
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

  private message(mostBody: number): Promise<IpcMessage | StreamEnding> {
    return this.messages.next(mostBody, this.schema.length).catch((cause) => failedToRead(this.place, cause));
  }

  private endedBy(ending: StreamEnding): Refusal {
    if (ending === 'no message') return this.broken('it contains something that is not an Arrow message');
    const { rows } = this.header;
    return new Refusal(
      this.rows === rows
        ? `${this.place} ended after ${rows} of ${rows} rows, without its end marker.`
        : `${this.place} ended after ${this.rows} of ${rows} rows.`,
      'The command that writes it failed or was stopped; see its message.',
      'activations/stream-cut-short',
    );
  }

  private broken(what: string): Refusal {
    return new Refusal(
      `${this.place} is broken after ${this.rows} of ${this.header.rows} rows: ${what}.`,
      'Feed it with `sae-pipe harvest … --out -`, and nothing else.',
      'activations/broken-stream',
    );
  }
}

function failedToRead(place: string, cause: unknown): never {
  if (cause instanceof UnsupportedIpc) {
    throw new Refusal(
      `${place} cannot be read: ${cause.message}.`,
      'Feed it with `sae-pipe harvest … --out -`.',
      'activations/stream-not-readable',
    );
  }
  const reason = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message;
  throw new Refusal(
    `${place} could not be read: ${reason}.`,
    'Run both ends of the pipe again.',
    'activations/stream-not-readable',
    { cause },
  );
}

/** Schema, and record batch if there is one, of bytes that begin with a schema; undefined if they are not that. */
function decodeMessage(bytes: IpcMessage): { schema: Schema; batch?: RecordBatch } | undefined {
  try {
    const reader = RecordBatchReader.from(bytes).open();
    const { value: batch, done } = reader.next();
    return { schema: reader.schema, batch: done ? undefined : batch };
  } catch {
    return undefined;
  }
}

/** Takes what Arrow's writer encodes, buffer by buffer and without copying, until it is sent. */
class Unsent extends AsyncByteQueue {
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
 * Writes rows as an Arrow IPC stream. A piece is requested once the previous one is sent: no more than one is held
 * here, however slow the reader. `out` is left open after a complete stream, and destroyed after any other.
 *
 * @param place what is written to, for messages
 * @throws Refusal if the reader exits
 * @throws Interrupted when a stop is requested while the reader takes nothing, or ends the reader
 */
export async function writeStream(
  out: Writable,
  header: StreamHeader,
  pieces: AsyncIterable<Rows>,
  place: string,
  stop: StopRequest,
): Promise<void> {
  const schema = streamSchema(header);
  const encoded = new Unsent();
  const writer = new RecordBatchStreamWriter().reset(encoded, schema);
  let rows = 0;
  const send = async () => {
    for (const buffer of encoded.take()) {
      await unlessStopped(written(out, buffer), stop, () => unfinished(rows, header, place));
    }
  };
  // A failed write is reported by its callback; an unhandled event would end the process.
  const ignored = () => {};
  out.on('error', ignored);
  try {
    await send();
    for await (const piece of pieces) {
      writer.write(rowsBatch(schema, piece));
      await send();
      rows += piece.token.length;
    }
    writer.close();
    await send();
    out.off('error', ignored);
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
    `The reader of ${place} exited after ${rows} of ${header.rows} rows.`,
    'See its error message, and run both ends of the pipe again.',
    'activations/reader-gone',
    { cause },
  );
}

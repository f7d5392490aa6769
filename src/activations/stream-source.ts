import type { Readable } from 'node:stream';
import { formatBytes } from '../disk/space.js';
import { UsageRefusal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { NOTHING_BEGUN, unlessStopped } from '../progress/stop.js';
import { Generator, Purpose } from '../random/generator.js';
import type { ActivationSource, Order, TextRead } from './activation-source.js';
import { rowBytes } from './manifest.js';
import { type Filled, ORDER_BYTES, POOL_ROWS, Pool, PoolBatches, type PoolSupply, poolRowsWithin } from './pool.js';
import { describeStream, RowStream, type StreamHeader } from './row-stream.js';
import { type Rows, RowsHash } from './rows.js';

interface StreamOptions {
  /** What is read, for messages. */
  readonly place: string;
  /** Max rows mixed in memory; no more than fit POOL_BYTES. */
  readonly poolRows?: number;
  /** Checked while waiting for rows. */
  readonly stop?: StopRequest;
  /** Receives messages: the memory limit, and rows that are not trained on. */
  readonly say?: (line: string) => void;
}

/**
 * Rows from a pipe as a source for training. Stored: as they arrive. Shuffled: in pools of `poolRows`, each
 * permuted by (seed, number of the pool) and dealt to its end. While a pool is dealt the next one is filled; no more
 * than two are in memory, and then nothing is read, which holds the writer back.
 *
 * @throws Refusal if it is not a stream of rows
 */
export async function openStreamSource(
  readable: Readable,
  { place, poolRows = POOL_ROWS, stop = { signal: undefined }, say }: StreamOptions,
): Promise<ActivationSource> {
  if ((readable as { isTTY?: boolean }).isTTY) {
    throw new UsageRefusal(
      `${place} is a terminal, but a stream of rows is expected.`,
      'Pipe one in: `sae-pipe harvest … --out - | sae-pipe train --activations - …`.',
      'activations/terminal',
    );
  }
  let stream: RowStream;
  try {
    stream = await unlessStopped(RowStream.open(readable, place), stop, () => NOTHING_BEGUN);
  } catch (error) {
    readable.destroy();
    throw error;
  }
  const about = describeStream(stream.header, place);
  let batches: PoolBatches | undefined;
  return {
    about,
    batches(order, seed) {
      if (batches) throw new Error(`${place} passes once`);
      const supply = new StreamSupply(stream, order, seed, poolRows);
      say?.(supply.bound(place));
      batches = new PoolBatches(about, supply, stop);
      return batches;
    },
    memory: (order) => {
      const { rows, pieceRows } = heldRows(stream.header, order, poolRows);
      return { held: rows * (rowBytes(stream.header) + ORDER_BYTES), pieceRows };
    },
    async passOver() {
      if (batches?.moreToCome) say?.(`The rest of ${place} is read and dropped, so that its writer ends well.`);
      await batches?.passOver();
    },
    async close() {
      readable.destroy();
    },
  };
}

/** Max rows in memory at a time, and per record batch. */
function heldRows(header: StreamHeader, order: Order, poolRows: number): { rows: number; pieceRows: number } {
  const pieceRows = Math.min(header.rows, header.rows_per_batch);
  const inPool = Math.min(header.rows, poolRowsWithin(poolRows, rowBytes(header)));
  return { rows: order === 'stored' ? 2 * pieceRows : 2 * inPool + pieceRows, pieceRows };
}

/** Fills pools from a stream, one ahead of the one that is dealt. */
class StreamSupply implements PoolSupply {
  private readonly size: number;
  private filling: Promise<Filled | null> | undefined;
  /** The end of a record batch whose beginning filled a pool. */
  private rest: Rows | undefined;
  private pools = 0;
  private readonly hash = new RowsHash();

  constructor(
    private readonly stream: RowStream,
    private readonly order: Order,
    private readonly seed: number,
    poolRows: number,
  ) {
    this.size = poolRowsWithin(poolRows, rowBytes(stream.header));
  }

  /** The memory limit in words. */
  bound(place: string): string {
    const { header } = this.stream;
    const { rows, pieceRows } = heldRows(header, this.order, this.size);
    const what =
      this.order === 'stored'
        ? `2 record batches of ${pieceRows} rows`
        : `2 pools of ${Math.min(this.size, header.rows)} rows and a record batch`;
    return `${place}: at most ${what} in memory, ${formatBytes(rows * rowBytes(header))}`;
  }

  /** Pools are read like any others: rows that are skipped have to pass. */
  async skip(): Promise<TextRead> {
    return { rows: 0, sha256: this.hash.digest() };
  }

  async next(): Promise<Filled | null> {
    const pool = await (this.filling ?? this.fill());
    this.filling = this.fill();
    // A failure is reported when the pool is requested.
    this.filling.catch(() => {});
    return pool;
  }

  private async fill(): Promise<Filled | null> {
    if (this.order === 'stored') {
      const rows = await this.stream.next();
      return rows && this.filled(new Pool([rows]));
    }
    const pieces: Rows[] = [];
    let missing = this.size;
    while (missing > 0) {
      const rows = this.rest ?? (await this.stream.next());
      if (!rows) break;
      const count = Math.min(missing, rows.token.length);
      this.rest = count < rows.token.length ? part(rows, count, rows.token.length) : undefined;
      pieces.push(part(rows, 0, count));
      missing -= count;
    }
    if (pieces.length === 0) return null;
    const order = new Generator(this.seed, Purpose.rowOrder, this.pools++).permutation(this.size - missing);
    return this.filled(new Pool(pieces, order));
  }

  private filled(pool: Pool): Filled {
    for (const rows of pool.pieces) this.hash.add(rows);
    return { pool, text: { sha256: this.hash.digest() } };
  }
}

/** Rows `from` … `to` − 1, in the same memory. */
function part({ activation, token, context, pos }: Rows, from: number, to: number): Rows {
  const d = activation.length / token.length;
  return {
    activation: activation.subarray(from * d, to * d),
    token: token.subarray(from, to),
    context: context.subarray(from, to),
    pos: pos.subarray(from, to),
  };
}

import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.js';
import { memory } from '../machine/memory.js';
import { Generator, Purpose } from '../random/generator.js';
import type { ActivationSource, Batch, Batches, Order, SourceDescription, Target } from './activation-source.js';
import { CheckedShards, readingThreads } from './checked-shards.js';
import { findStores } from './find-stores.js';
import { type Manifest, normLimitIn, readManifest, rowBytes } from './manifest.js';
import { newBatch, ORDER_BYTES, POOL_ROWS, Pool, poolRowsWithin, type RowShape } from './pool.js';
import { buffersOf, type Examples, type Rows } from './rows.js';
import { AGAIN, readShard, unreadable } from './shard-file.js';
import { joinParts, type StorePart } from './store-parts.js';

/** A complete activation store, open for reading. */
export interface Store {
  readonly directory: string;
  readonly manifest: Manifest;
  /** Where its files are: the store itself, or the parts that `manifest` joins. */
  readonly parts: readonly StorePart[];
  /** Of the store whose rows are the targets of these, where there is one. */
  readonly target?: Pick<Store, 'directory' | 'manifest'>;
  /**
   * Loads shard i; its hash is checked against the manifest, and every activation is finite.
   *
   * @param spare memory that is not needed any more, taken from the list where it fits
   */
  readShard(i: number, spare?: ArrayBuffer[]): Promise<Examples>;
}

/** What ActivationBatches deals: rows by shard, on disk or in memory. */
export interface Shards extends Pick<Store, 'readShard'> {
  readonly manifest: Pick<Manifest, 'rows' | 'd_in' | 'dtype'> & {
    readonly shards: readonly Pick<Manifest['shards'][number], 'rows' | 'bytes'>[];
  };
  readonly target?: Pick<Store, 'directory' | 'manifest'>;
}

/** Files checked at once: the file system may be far away, and a manifest may list any number. */
const AT_A_TIME = 64;

/**
 * Opens a store, or all parts of one as one.
 *
 * @param named as `findStores` takes it
 * @throws Refusal when it is not one, or not complete, or a part or a shard is missing or has another size than was written
 */
export async function openStore(named: string): Promise<Store> {
  const { directory, manifest, parts } = await findStore(named);
  if (!manifest.complete) {
    throw new Refusal(
      `${directory} is not complete: ${manifest.rows} of ${manifest.rows_wanted} rows.`,
      'Finish it with `sae-pipe harvest … --resume`.',
      'activations/incomplete',
    );
  }
  const listed = manifest.shards.reduce((sum, shard) => sum + shard.rows, 0);
  if (listed !== manifest.rows) {
    throw new Refusal(
      `${directory}: the manifest lists shards of ${listed} rows and counts ${manifest.rows}.`,
      AGAIN,
      'activations/wrong-counts',
    );
  }
  if (listed === 0) throw new Refusal(`${directory} holds no rows.`, AGAIN, 'activations/no-rows');
  await checkShardFiles(directory, manifest);
  return { directory, manifest, parts, readShard: async (i) => (await readShard(directory, manifest, i)).rows };
}

/**
 * What a store, or all parts of one, say of themselves; none of their rows is looked for.
 *
 * @throws Refusal where there is no store, or the parts are not all of one
 */
export async function findStore(named: string): Promise<StorePart & Pick<Store, 'parts'>> {
  const parts: StorePart[] = [];
  for (const directory of await findStores(named)) parts.push({ directory, manifest: await readManifest(directory) });
  const [one] = parts;
  return { ...(parts.length === 1 && !one!.manifest.part ? one! : joinParts(parts)), parts };
}

/**
 * Looks whether the shards that a manifest lists are there in their sizes. Contents are checked by `readShard`, each time
 * that it reads one: hashing a whole store beforehand would read it once more.
 *
 * @throws Refusal naming one that is not
 */
export async function checkShardFiles(directory: string, manifest: Manifest): Promise<void> {
  const { shards } = manifest;
  for (let first = 0; first < shards.length; first += AT_A_TIME) {
    await Promise.all(
      shards.slice(first, first + AT_A_TIME).map((shard) => checkShardFile(directory, shard, manifest)),
    );
  }
}

async function checkShardFile(
  directory: string,
  { file, rows, bytes }: Manifest['shards'][number],
  manifest: Manifest,
): Promise<void> {
  const path = join(directory, file);
  const found = await stat(path).catch((cause) => unreadable(path, cause));
  if (!found.isFile()) throw new Refusal(`${path} is not a file.`, AGAIN, 'activations/shard-not-a-file');
  if (bytes !== undefined && found.size !== bytes) {
    throw new Refusal(
      `${path} has ${found.size} bytes, and the manifest says ${bytes}.`,
      AGAIN,
      'activations/shard-size',
    );
  }
  // What is asked for by the rows must not be allocated for rows that are nowhere.
  const least = rows * rowBytes(manifest);
  if (found.size < least)
    throw new Refusal(
      `${path} has ${found.size} bytes, and its ${rows} rows take ${least}.`,
      AGAIN,
      'activations/shard-size',
    );
}

const ALIGN = 'Harvest both hooks with one command: `sae-pipe harvest … --hook A --hook B`.';

/**
 * Two stores of one harvest, read row by row: row i of both is the same position of the same text. What they say of
 * themselves is compared here, the columns of a shard whenever it is read.
 *
 * @throws Refusal where their rows are not the same positions in the same order, or not of the same model
 */
function alignedStores(input: Store, target: Store): Store {
  const [of, to] = [input, target].map(({ manifest }) => alignment(manifest)) as [Alignment, Alignment];
  for (const [what, value] of Object.entries(of)) {
    const other = to[what as keyof Alignment];
    if (JSON.stringify(value) === JSON.stringify(other)) continue;
    const values = typeof value === 'object' ? '' : ` (${value} and ${other})`;
    throw new Refusal(
      `${input.directory} and ${target.directory} are not row-aligned: they differ in ${what}${values}.`,
      ALIGN,
      'activations/not-aligned',
    );
  }
  return {
    directory: input.directory,
    manifest: input.manifest,
    parts: input.parts,
    target: { directory: target.directory, manifest: target.manifest },
    async readShard(i, spare) {
      const [rows, others] = await Promise.all([input.readShard(i, spare), target.readShard(i, spare)]);
      const at = firstDifference(rows, others);
      if (at >= 0) {
        const file = input.manifest.shards[i]!.file;
        const place = ({ context, pos, token }: Rows) =>
          `token ${token[at]} (context ${context[at]}, position ${pos[at]})`;
        throw new Refusal(
          `${input.directory} and ${target.directory} are not row-aligned: row ${at} of ${file} is ${place(rows)} in one and ${place(others)} in the other.`,
          ALIGN,
          'activations/not-aligned',
        );
      }
      return { ...rows, target: others.activation };
    },
  };
}

type Alignment = ReturnType<typeof alignment>;

/** What decides which position of which text each row of a store is, and how it was computed; for messages, in words. */
function alignment(manifest: Manifest) {
  const { model, dtype, precision = 'float32', context, bos_token_id, rows, seed, shards, contexts } = manifest;
  return {
    model: model.fingerprint,
    dtype,
    precision,
    context,
    bos_token_id,
    prepend_bos: manifest.prepend_bos,
    exclude_special_tokens: manifest.exclude_special_tokens ?? 'none',
    max_activation_norm_multiple: manifest.max_activation_norm_multiple ?? 'none',
    'the roles of their rows': manifest.chat?.roles ?? 'all',
    rows,
    seed,
    rows_per_shard: manifest.rows_per_shard,
    batch: manifest.batch,
    window_batches: manifest.window_batches,
    'the text of their contexts': contexts.map(({ sha256, rows }) => [sha256, rows]),
    'the rows of their shards': shards.map(({ rows, window }) => [rows, window]),
  };
}

/** The first row whose token, context or position differs; −1 where there is none. */
function firstDifference(a: Rows, b: Rows): number {
  const columns = (['token', 'context', 'pos'] as const).map((name) => [a[name], b[name]] as const);
  if (columns.every(([one, other]) => Buffer.compare(bytesOf(one), bytesOf(other)) === 0)) return -1;
  for (let row = 0; ; row++) if (columns.some(([one, other]) => one[row] !== other[row])) return row;
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Int32Array | Uint32Array) =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Where a store lies, and how it is read for training. */
interface StoreReading {
  /** As `openStore` takes it. */
  readonly activations: string;
  /** That of the store with the targets; its own rows are their targets where absent. */
  readonly target?: string;
  /** Rows mixed in memory, at most. */
  readonly poolRows?: number;
  /** That read each store; as many as its size asks for where absent. */
  readonly threads?: number;
}

/**
 * A store as a source for training.
 *
 * @throws Refusal when a directory is not a store, or not complete, or the two are not row-aligned
 */
export async function openStoreSource({
  activations,
  target,
  poolRows,
  threads,
}: StoreReading): Promise<ActivationSource> {
  const opened = [await openStore(activations)];
  if (target !== undefined) opened.push(await openStore(target));
  const readers = opened.map((store) => new CheckedShards(store, threads ?? threadsOf(store.manifest)));
  const [input, other] = opened.map((store, k) => ({ ...store, readShard: readers[k]!.read.bind(readers[k]) }));
  const close = async () => {
    await Promise.all(readers.map((reader) => reader.close()));
  };
  try {
    const store = other ? alignedStores(input!, other) : input!;
    const { rows, shards } = store.manifest;
    const pieceRows = shards.reduce((most, shard) => Math.max(most, shard.rows), 0);
    const needed = storeMemory(bytesPerRow(store), rows, pieceRows, poolRows);
    const more = other ? threadsOf(other.manifest) * READER_MEMORY : 0;
    const memory = { ...needed, held: needed.held + more };
    return {
      about: describeStore(store),
      batches: (order, seed) => new ActivationBatches(store, order, seed, poolRows, memory.ahead),
      memory: () => memory,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function threadsOf(manifest: Manifest): number {
  return readingThreads(manifest.rows * rowBytes(manifest), manifest.shards.length);
}

function describeStore({ directory: place, manifest, target }: Store): SourceDescription {
  const { model, hook, d_in: dIn, dtype, context, corpus, rows, mean_norm: meanNorm } = manifest;
  const { prepend_bos: prependBos, exclude_special_tokens: excludedTokens } = manifest;
  const normLimit = normLimitIn(manifest);
  const hash = createHash('sha256');
  for (const shard of [...manifest.shards, ...(target?.manifest.shards ?? [])]) hash.update(shard.sha256);
  return {
    ...{ place, model, hook, dIn, dtype, context, prependBos, corpus, rows, meanNorm, identity: hash.digest('hex') },
    ...(target && { target: targetOf(target.manifest) }),
    ...(excludedTokens && { excludedTokens }),
    ...(manifest.documents && { documents: manifest.documents }),
    ...(manifest.text_read?.length && { read: manifest.text_read }),
    ...(manifest.chat && { chat: manifest.chat }),
    ...(normLimit && { normLimit }),
  };
}

const targetOf = ({ hook, d_in: dOut, mean_norm: meanNorm }: Manifest): Target => ({ hook, dOut, meanNorm });

/** Bytes in memory of a row and its target. */
function bytesPerRow({ manifest, target }: Pick<Shards, 'manifest' | 'target'>): number {
  return rowBytes(manifest) + (target ? rowBytes(target.manifest) : 0);
}

/** Share of the machine's memory that two pools may take. */
const AHEAD_SHARE = 0.25;
/** Bytes of a thread that reads shards, without them: measured, rounded up. */
const READER_MEMORY = 48 * 2 ** 20;

/** What reading a store holds in memory. */
interface StoreMemory {
  /** Bytes. */
  readonly held: number;
  readonly pieceRows: number;
  /** Is a pool read while the one before is dealt? */
  readonly ahead: boolean;
}

/**
 * @param bytes of a row, its target included
 * @param pieceRows rows of its largest shard
 * @param poolRows rows mixed in memory, at most
 * @param limit bytes of memory that this process may take
 */
export function storeMemory(
  bytes: number,
  rows: number,
  pieceRows: number,
  poolRows = POOL_ROWS,
  limit = memory().limit,
): StoreMemory {
  const inPool = Math.min(rows, Math.max(pieceRows, poolRowsWithin(poolRows, bytes)));
  const pool = inPool * (bytes + ORDER_BYTES);
  const ahead = inPool < rows && 2 * pool <= AHEAD_SHARE * limit;
  const threads = readingThreads(rows * bytes, Math.ceil(rows / pieceRows));
  // Next to the pools with their orders, the shard that is being looked at, or was last.
  return { held: (ahead ? 2 : 1) * pool + pieceRows * bytes + threads * READER_MEMORY, pieceRows, ahead };
}

/** Where a pool stands in the order of all pools. */
interface Place {
  readonly epoch: number;
  /** Index into the epoch's order of shards of the first shard. */
  readonly start: number;
}

/** What is in memory of a store. */
interface Loaded {
  readonly shards: readonly number[];
  readonly pool: Pool;
}

/**
 * Batches of activations for training, epoch after epoch.
 *
 * Shuffled: each epoch takes the shards in a new random order, loads as many as fit the pool, and deals the pool's rows
 * in random order; shards hold permuted windows, so a batch mixes the whole corpus. Stored: rows in the order of the
 * manifest. Either way the order is a function of (seed, rows dealt so far) alone: `seek` continues where a run stopped.
 */
export class ActivationBatches implements Batches {
  private readonly poolShards: number;
  private readonly shape: RowShape;
  private place: Place = { epoch: 0, start: 0 };
  private loaded: Loaded | undefined;
  /** The shards of the next pool, on their way. */
  private coming: { readonly shards: readonly number[]; readonly pieces: Promise<readonly Examples[]> } | undefined;
  /** Next row of the pool. */
  private cursor = 0;

  /** @param ahead is a pool read while the one before is dealt? */
  constructor(
    private readonly store: Shards,
    private readonly order: Order,
    private readonly seed: number,
    poolRows = POOL_ROWS,
    private readonly ahead = false,
  ) {
    const { shards, d_in: dIn, dtype } = store.manifest;
    this.shape = { dIn, dtype, ...(store.target && { target: targetOf(store.target.manifest) }) };
    const largest = shards.reduce((most, { rows }) => Math.max(most, rows), 1);
    this.poolShards = Math.max(1, Math.floor(poolRowsWithin(poolRows, bytesPerRow(store)) / largest));
  }

  /** Goes to the state after `rows` rows were dealt. */
  async seek(rows: number): Promise<void> {
    const total = this.store.manifest.rows;
    this.place = { epoch: Math.floor(rows / total), start: 0 };
    let left = rows % total;
    for (;;) {
      const size = this.rowsOf(this.shardsAt(this.place));
      if (left < size) break;
      left -= size;
      this.place = this.after(this.place);
    }
    this.loaded = await this.load();
    this.cursor = left;
  }

  async next(size: number, into?: Batch): Promise<Batch> {
    const batch = newBatch(size, this.shape, into);
    for (let filled = 0; filled < size; ) {
      this.loaded ??= await this.load();
      if (this.cursor === this.loaded.pool.size) await this.nextPool();
      filled += this.deal(batch, filled, size - filled);
    }
    return batch;
  }

  async *inputs(occasion: number): AsyncIterable<Examples> {
    const order = new Generator(this.seed, Purpose.inputs, occasion).permutation(this.store.manifest.shards.length);
    for (const shard of order) yield await this.store.readShard(shard);
  }

  /** Rows dealt: as many as the pool still has, `most` at most. No pool outlives this in a suspended call. */
  private deal(batch: Batch, at: number, most: number): number {
    const { pool } = this.loaded!;
    const count = Math.min(most, pool.size - this.cursor);
    pool.deal(this.cursor, count, batch, at, this.shape);
    this.cursor += count;
    return count;
  }

  private async nextPool(): Promise<void> {
    this.place = this.after(this.place);
    this.loaded = await this.load();
    this.cursor = 0;
  }

  private after({ epoch, start }: Place): Place {
    const next = start + this.poolShards;
    return next < this.store.manifest.shards.length ? { epoch, start: next } : { epoch: epoch + 1, start: 0 };
  }

  private orderOfShards(epoch: number): Uint32Array {
    const count = this.store.manifest.shards.length;
    if (this.order === 'stored') return Uint32Array.from({ length: count }, (_, i) => i);
    return new Generator(this.seed, Purpose.shardOrder, epoch).permutation(count);
  }

  private shardsAt({ epoch, start }: Place): number[] {
    // Ascending, so that a pool that holds the whole store is the same pool in every epoch and is loaded once.
    return [...this.orderOfShards(epoch).subarray(start, start + this.poolShards)].sort((a, b) => a - b);
  }

  private rowsOf(shards: readonly number[]): number {
    return shards.reduce((sum, shard) => sum + this.store.manifest.shards[shard]!.rows, 0);
  }

  private async load(): Promise<Loaded> {
    const { epoch, start } = this.place;
    const shards = this.shardsAt(this.place);
    const before = this.loaded;
    this.loaded = undefined;
    const pieces = same(before?.shards, shards) ? before!.pool.pieces : await this.piecesOf(shards, before);
    const order =
      this.order === 'stored'
        ? undefined
        : new Generator(this.seed, Purpose.rowOrder, epoch, start).permutation(this.rowsOf(shards));
    return { shards, pool: new Pool(pieces, order) };
  }

  /** The shards of a pool, in the memory of the one before; where pools are read ahead, that memory is the next one's. */
  private piecesOf(shards: readonly number[], before: Loaded | undefined): Promise<readonly Examples[]> {
    const next = this.shardsAt(this.after(this.place));
    const coming = same(this.coming?.shards, shards) ? this.coming?.pieces : undefined;
    this.coming = undefined;
    const free = before?.pool.pieces.flatMap(buffersOf) ?? [];
    const pieces = coming ?? this.read(shards, free);
    if (!this.ahead || same(next, shards)) return pieces;
    // After the shards that are waited for. What fails is told when the pool is asked for.
    const ahead = pieces.then(() => this.read(next, coming ? free : []));
    ahead.catch(() => {});
    this.coming = { shards: next, pieces: ahead };
    return pieces;
  }

  /** @param free memory of shards that are not needed any more: only what fits these is kept for them */
  private read(shards: readonly number[], free: readonly ArrayBuffer[]): Promise<readonly Examples[]> {
    const { manifest, target } = this.store;
    const sizes = shards.flatMap((i) => [manifest, target?.manifest].map((of) => of?.shards[i]?.bytes));
    const spare: ArrayBuffer[] = [];
    for (const buffer of free) {
      const at = sizes.indexOf(buffer.byteLength);
      if (at < 0) continue;
      sizes.splice(at, 1);
      spare.push(buffer);
    }
    return Promise.all(shards.map((shard) => this.store.readShard(shard, spare)));
  }
}

function same(a: readonly number[] | undefined, b: readonly number[]): boolean {
  return a !== undefined && a.length === b.length && a.every((shard, k) => shard === b[k]);
}

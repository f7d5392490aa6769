import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { exists, readRegular } from '../disk/input-file.js';
import { Refusal } from '../errors/refusal.js';
import { Generator, Purpose } from '../random/generator.js';
import type { ActivationSource, Batch, Batches, Order, SourceDescription, Target } from './activation-source.js';
import { type Manifest, manifestPath, normLimitIn, readManifest, rowBytes } from './manifest.js';
import { forTraining, newBatch, ORDER_BYTES, POOL_ROWS, Pool, poolRowsWithin, type RowShape } from './pool.js';
import { decodeShard, type Examples, notFiniteRow, type Rows } from './rows.js';

/** A complete activation store, open for reading. */
export interface Store {
  readonly directory: string;
  readonly manifest: Manifest;
  /** Of the store whose rows are the targets of these, where there is one. */
  readonly target?: Pick<Store, 'directory' | 'manifest'>;
  /** Loads shard i; its hash is checked against the manifest, and every activation is finite. */
  readShard(i: number): Promise<Examples>;
}

const AGAIN = 'Harvest the store again.';
/** Bytes of a shard whose size no manifest gives, at most: a buffer of Node's hashing. */
const MOST_BYTES = 2 ** 31 - 1;
/** Files checked at once: the file system may be far away, and a manifest may list any number. */
const AT_A_TIME = 64;

/**
 * Opens a store.
 *
 * @param named its directory, or one in which it is the only store
 * @throws Refusal when it is not one, or not complete, or a shard is missing or has another size than was written
 */
export async function openStore(named: string): Promise<Store> {
  const directory = await findStore(named);
  const manifest = await readManifest(directory);
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
  return { directory, manifest, readShard: (i) => readShard(directory, manifest, i) };
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

function unreadable(path: string, cause: unknown): never {
  throw new Refusal(`${path} is listed in the manifest but could not be read.`, AGAIN, 'activations/no-shard', {
    cause,
  });
}

/**
 * Loads shard i of a store; `Store.readShard` for whoever has no more of it than its manifest.
 *
 * @throws Refusal where it is not what was written, or an activation is not finite
 */
export async function readShard(directory: string, manifest: Manifest, i: number): Promise<Rows> {
  const shard = manifest.shards[i]!;
  const path = join(directory, shard.file);
  // What checkShardFile found is as large as the manifest says.
  const bytes = await readRegular(path, shard.bytes ?? MOST_BYTES, AGAIN);
  if (!bytes) return unreadable(path, undefined);
  const found = createHash('sha256').update(bytes).digest('hex');
  if (found !== shard.sha256) {
    throw new Refusal(
      `${path} was changed after it was written: its SHA-256 is ${found.slice(0, 12)}…, and the manifest says ${shard.sha256.slice(0, 12)}….`,
      AGAIN,
      'activations/shard-changed',
    );
  }
  const rows = decodeShard(bytes, manifest.d_in, manifest.dtype, path);
  if (rows.token.length !== shard.rows) {
    throw new Refusal(
      `${path} holds ${rows.token.length} rows where the manifest says ${shard.rows}.`,
      AGAIN,
      'activations/wrong-counts',
    );
  }
  const wild = notFiniteRow(rows, manifest.dtype);
  if (wild) throw new Refusal(`${path}: ${wild}.`, 'Harvest the store again.', 'activations/not-finite');
  return rows;
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
    target: { directory: target.directory, manifest: target.manifest },
    async readShard(i) {
      const [rows, others] = [await input.readShard(i), await target.readShard(i)];
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
  for (let row = 0; row < Math.max(a.token.length, b.token.length); row++) {
    if (columns.some(([one, other]) => one[row] !== other[row])) return row;
  }
  return -1;
}

/**
 * The store that is meant by a directory: itself, or the only one in it. A harvest's --out holds one store per hook.
 *
 * @returns the directory itself where there is none, which its reader explains
 * @throws Refusal naming all where there are several
 */
async function findStore(directory: string): Promise<string> {
  if (await exists(manifestPath(directory))) return directory;
  const names = await readdir(directory).catch((): string[] => []);
  const stores: string[] = [];
  for (const name of names.sort()) if (await exists(manifestPath(join(directory, name)))) stores.push(name);
  if (stores.length > 1) {
    throw new Refusal(
      `${directory} holds ${stores.length} stores: ${stores.join(', ')}.`,
      `Name one of them, e.g. ${join(directory, stores[0]!)}.`,
      'activations/several-stores',
    );
  }
  return stores.length === 1 ? join(directory, stores[0]!) : directory;
}

/** Where a store lies, and how it is read for training. */
interface StoreReading {
  /** Its directory, or one in which it is the only store. */
  readonly activations: string;
  /** That of the store with the targets; its own rows are their targets where absent. */
  readonly target?: string;
  /** Rows mixed in memory, at most. */
  readonly poolRows?: number;
}

/**
 * A store as a source for training.
 *
 * @throws Refusal when a directory is not a store, or not complete, or the two are not row-aligned
 */
export async function openStoreSource({ activations, target, poolRows }: StoreReading): Promise<ActivationSource> {
  const input = await openStore(activations);
  const store = target === undefined ? input : alignedStores(input, await openStore(target));
  const { rows, shards } = store.manifest;
  return {
    about: describeStore(store),
    batches: (order, seed) => new ActivationBatches(store, order, seed, poolRows),
    memory: () => storeMemory(bytesPerRow(store), rows, Math.max(...shards.map((shard) => shard.rows)), poolRows),
    close: async () => {},
  };
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
function bytesPerRow({ manifest, target }: Pick<Store, 'manifest' | 'target'>): number {
  return rowBytes(manifest) + (target ? rowBytes(target.manifest) : 0);
}

/**
 * What reading a store holds in memory, bytes.
 *
 * @param bytes of a row, its target included
 * @param pieceRows rows of its largest shard
 * @param poolRows rows mixed in memory, at most
 */
export function storeMemory(
  bytes: number,
  rows: number,
  pieceRows: number,
  poolRows = POOL_ROWS,
): { readonly held: number; readonly pieceRows: number } {
  const inPool = Math.min(rows, Math.max(pieceRows, poolRowsWithin(poolRows, bytes)));
  // Next to a pool with its order, the shard that is being read, or was last.
  return { held: inPool * (bytes + ORDER_BYTES) + pieceRows * bytes, pieceRows };
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
  private epoch = 0;
  private shardOrder: Uint32Array;
  /** Index into shardOrder of the first shard of the current pool. */
  private poolStart = 0;
  private loaded: Loaded | undefined;
  /** Next row of the pool. */
  private cursor = 0;

  constructor(
    private readonly store: Store,
    private readonly order: Order,
    private readonly seed: number,
    poolRows = POOL_ROWS,
  ) {
    const { shards, d_in: dIn, dtype } = store.manifest;
    this.shape = { dIn, dtype, ...(store.target && { target: targetOf(store.target.manifest) }) };
    const largest = shards.reduce((most, { rows }) => Math.max(most, rows), 1);
    this.poolShards = Math.max(1, Math.floor(poolRowsWithin(poolRows, bytesPerRow(store)) / largest));
    this.shardOrder = this.orderOfShards();
  }

  /** Goes to the state after `rows` rows were dealt. */
  async seek(rows: number): Promise<void> {
    const total = this.store.manifest.rows;
    this.epoch = Math.floor(rows / total);
    this.shardOrder = this.orderOfShards();
    this.poolStart = 0;
    let left = rows % total;
    for (;;) {
      const size = this.rowsOfPool();
      if (left < size) break;
      left -= size;
      this.poolStart += this.poolShards;
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
    return forTraining(batch, this.shape);
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
    this.poolStart += this.poolShards;
    if (this.poolStart >= this.shardOrder.length) {
      this.epoch++;
      this.poolStart = 0;
      this.shardOrder = this.orderOfShards();
    }
    this.loaded = await this.load();
    this.cursor = 0;
  }

  private orderOfShards(): Uint32Array {
    const count = this.store.manifest.shards.length;
    if (this.order === 'stored') return Uint32Array.from({ length: count }, (_, i) => i);
    return new Generator(this.seed, Purpose.shardOrder, this.epoch).permutation(count);
  }

  private shardsOfPool(): number[] {
    // Ascending, so that a pool that holds the whole store is the same pool in every epoch and is loaded once.
    return [...this.shardOrder.subarray(this.poolStart, this.poolStart + this.poolShards)].sort((a, b) => a - b);
  }

  private rowsOfPool(): number {
    return this.shardsOfPool().reduce((sum, shard) => sum + this.store.manifest.shards[shard]!.rows, 0);
  }

  private async load(): Promise<Loaded> {
    const shards = this.shardsOfPool();
    let pieces = this.loaded?.shards.join() === shards.join() ? this.loaded.pool.pieces : undefined;
    // Let go of the old pool before loading, or two would be in memory.
    this.loaded = undefined;
    if (!pieces) {
      const read: Examples[] = [];
      for (const shard of shards) read.push(await this.store.readShard(shard));
      pieces = read;
    }
    const order =
      this.order === 'stored'
        ? undefined
        : new Generator(this.seed, Purpose.rowOrder, this.epoch, this.poolStart).permutation(this.rowsOfPool());
    return { shards, pool: new Pool(pieces, order) };
  }
}

import { createHash } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Context } from '../corpus/contexts.js';
import { corporaRead } from '../corpus/read-tally.js';
import { positionOf } from '../corpus/text-position.js';
import { writeAside, writeBytes } from '../disk/output-file.js';
import { Refusal } from '../errors/refusal.js';
import { Generator, Purpose } from '../random/generator.js';
import { decodeShard, encodeContexts, encodeShard } from './arrow-rows.js';
import { GrowingManifest } from './growing-manifest.js';
import { type ActivationDType, corporaIn, type Manifest } from './manifest.js';
import { type ActivationArray, allocateRows, type Rows } from './rows.js';
import { ShardMemory } from './shard-memory.js';
import { PRESS_HERE, type PressedShard, type ShardPress } from './shard-press.js';
import { ActivationSums, readStatistics, writeStatistics } from './statistics.js';
import type { WholeText } from './store-parts.js';

type PendingWindow = NonNullable<Manifest['pending']>;

/**
 * Appends windows to a store. A shard is written aside, synced, renamed and only then listed in the manifest; a window
 * counts as done once its contexts are listed, after all its shards. A killed run therefore resumes at the first window
 * that is not listed. Shards of that window already listed are kept where they were cut from the same rows
 * (manifest.pending): only then do they hold what would be written now.
 */
export class StoreWriter {
  private readonly growing: GrowingManifest;

  constructor(
    private readonly directory: string,
    readonly manifest: Manifest,
    private readonly shards: ShardPress = PRESS_HERE,
  ) {
    this.growing = new GrowingManifest(directory, manifest);
  }

  /** Complete windows on disk. */
  get windowsDone(): number {
    return this.manifest.contexts.length;
  }

  async writeWindow(window: Window): Promise<void> {
    const { manifest } = this;
    const contexts = encodeContexts(window.contexts);
    const plan = {
      window: window.index,
      rows: window.rows,
      contexts: window.contexts.length,
      contexts_sha256: sha256(contexts),
    };
    if (!isDeepStrictEqual(manifest.pending, plan)) await this.removeBegun(window.index);
    const sums = await this.sumsBefore();
    await this.writeShards(window, plan, sums);
    const file = `contexts-${String(window.index).padStart(5, '0')}.arrow`;
    await writeAside(join(this.directory, file), contexts);
    const kept = sums && (await writeStatistics(this.directory, window.index, sums));
    const last = window.contexts.at(-1);
    const { partial, statistics, text_identity } = manifest;
    await this.growing.add({
      window: {
        file,
        first: window.contexts[0]?.index ?? 0,
        contexts: plan.contexts,
        rows: plan.rows,
        norm_sum: window.normSum,
        ...(manifest.max_activation_norm_multiple !== undefined && { left_out: window.leftOut }),
        sha256: plan.contexts_sha256,
      },
      ...(last?.read && { text_read: corporaRead(last.read, corporaIn(manifest)) }),
      ...(text_identity !== undefined &&
        last?.position && { text_position: positionOf(last.position, last.index + 1) }),
      ...(kept && { statistics: kept }),
    });
    const past = [...(partial?.files ?? []), ...(statistics ? [statistics] : [])];
    for (const { file } of past) await rm(join(this.directory, file), { force: true });
  }

  /** Writes and lists the shards of a window one by one; meanwhile the next ones are cut and turned into files. */
  private async writeShards(window: Window, plan: PendingWindow, sums: ActivationSums | undefined): Promise<void> {
    const { d_in: d, dtype, rows_per_shard: most, seed } = this.manifest;
    const memory = this.shards.memory ?? new ShardMemory(1);
    const cut = window.shards(most, seed, (count) => memory.rows(count, d, dtype))[Symbol.iterator]();
    const { shards } = this.manifest;
    let index = shards.filter((shard) => shard.window < window.index).length;
    const listed = new Set(shards.map(({ file }) => file));
    let before = Promise.resolve();
    let failed = false;
    const write = async (rows: Rows) => {
      const [after, count] = [before, rows.token.length];
      const file = `shard-${String(index++).padStart(5, '0')}.arrow`;
      let unused: Rows | undefined;
      try {
        const shard = await this.shards.press(rows, d, dtype);
        await after;
        sums?.merge(shard.sums);
        // Listed before a kill, it is already on disk.
        if (!listed.has(file)) await this.list(file, count, shard, plan);
        unused = rows;
      } catch (error) {
        failed = true;
        // Nobody may be writing here any more when the caller is told; what failed first is what is told.
        await after;
        throw error;
      } finally {
        memory.end(unused);
      }
    };
    try {
      for (;;) {
        const rows = await memory.inTurn(() => (failed ? undefined : cut.next().value));
        if (!rows) break;
        before = write(rows);
        // The error goes to whoever awaits the last one.
        before.catch(() => {});
      }
    } finally {
      await before.catch(() => {});
    }
    await before;
  }

  /** Writes a shard of the current window and lists it. */
  private async list(file: string, rows: number, shard: PressedShard, plan: PendingWindow): Promise<void> {
    await writeAside(join(this.directory, file), async (to) => {
      for (const chunk of shard.chunks) await writeBytes(to, chunk);
    });
    const { bytes, sha256 } = shard;
    await this.growing.add({ shard: { file, rows, bytes, sha256, window: plan.window }, pending: plan });
  }

  /**
   * Sums of the windows that are done; undefined if an earlier version kept none, or they are lost: then none are kept.
   */
  private async sumsBefore(): Promise<ActivationSums | undefined> {
    if (this.windowsDone === 0) return new ActivationSums(this.manifest.d_in);
    return readStatistics(this.directory, this.manifest).catch((error: unknown) => {
      if (error instanceof Refusal) return undefined;
      throw error;
    });
  }

  /** Removes the listed shards of an unfinished window, which is written again from its beginning. */
  private async removeBegun(window: number): Promise<void> {
    const { manifest } = this;
    const begun = manifest.shards.filter((shard) => shard.window === window);
    if (begun.length === 0) return;
    manifest.shards = manifest.shards.filter((shard) => shard.window !== window);
    manifest.pending = null;
    // Unlisted first: listed files exist, whenever a kill comes.
    await this.growing.rewrite();
    for (const { file } of begun) await rm(join(this.directory, file), { force: true });
  }

  /**
   * Completes a store, or a part of one, whose rows were all written before it was known that no more are wanted.
   *
   * @param whole the text of which it is a part
   */
  async complete(whole?: WholeText): Promise<void> {
    const { manifest } = this;
    if (manifest.complete) return;
    if (manifest.part && whole) manifest.part.whole = whole;
    else if (manifest.rows !== manifest.rows_wanted) return;
    await this.removeBegun(this.windowsDone);
    await this.growing.complete();
  }

  /** Saves an unfinished window for `readPartial`, in pieces as large as shards. */
  async writePartial(window: Window): Promise<void> {
    const { manifest } = this;
    const files: NonNullable<Manifest['partial']>['files'] = [];
    for (const rows of window.inOrder(manifest.rows_per_shard)) {
      const file = `partial-${String(files.length).padStart(5, '0')}.arrow`;
      const bytes = encodeShard(rows, manifest.d_in, manifest.dtype);
      await writeAside(join(this.directory, file), bytes);
      files.push({ file, rows: rows.token.length, sha256: sha256(bytes) });
    }
    const { rows, normSum: norm_sum, contexts } = window;
    const contexts_sha256 = sha256(encodeContexts(contexts));
    const left = manifest.max_activation_norm_multiple === undefined ? {} : { left_out: window.leftOut };
    manifest.partial = { contexts: contexts.length, contexts_sha256, rows, norm_sum, ...left, files };
    await this.growing.rewrite();
  }

  /** Rows of the interrupted window as they were; null if they are not on disk whole: then it is recomputed. */
  async readPartial(): Promise<Rows[] | null> {
    const { partial, d_in, dtype } = this.manifest;
    const pieces: Rows[] = [];
    for (const { file, sha256: expected } of partial?.files ?? []) {
      const path = join(this.directory, file);
      const bytes = await readFile(path).catch(() => undefined);
      if (!bytes || sha256(bytes) !== expected) return null;
      pieces.push(decodeShard(bytes, d_in, dtype, path));
    }
    return partial ? pieces : null;
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * Rows of several forward passes, in order of arrival until they are cut into shards in random order. A window consists
 * of complete forward passes, so that resuming at its start repeats the same passes and gives the same bytes.
 */
export class Window {
  readonly contexts: Context[] = [];
  /** Σ|x| over the rows. */
  normSum = 0;
  rows = 0;
  /** Positions of its contexts that are too long. */
  leftOut = 0;
  private readonly blocks: { first: number; rows: Rows }[] = [];
  /** Memory of the blocks from forward passes. */
  private memory: ArrayBufferLike[] = [];

  /**
   * @param index counted in the store
   * @param number counted in the whole text, if the store is a part: sets the order
   */
  constructor(
    readonly index: number,
    private readonly d: number,
    private readonly dtype: ActivationDType,
    private readonly number = index,
  ) {}

  /** Adds the rows of one forward pass; `rows` is kept, not copied. */
  add(rows: Rows, norms: Float32Array): void {
    this.addBlock(rows);
    this.memory.push(rows.activation.buffer);
    for (const norm of norms) this.normSum += norm;
  }

  /** Puts back the rows of an interrupted window, the pieces of `inOrder`. */
  restore(pieces: readonly Rows[], normSum: number, leftOut = 0): void {
    for (const rows of pieces) this.addBlock(rows);
    this.normSum = normSum;
    this.leftOut = leftOut;
  }

  /**
   * Releases the rows and contexts, which may be gigabytes, even if the window is still referenced.
   *
   * @returns memory of the activations, to be reused by later passes
   */
  release(): ArrayBufferLike[] {
    const { memory } = this;
    this.memory = [];
    this.blocks.length = 0;
    this.contexts.length = 0;
    return memory;
  }

  private addBlock(rows: Rows): void {
    this.blocks.push({ first: this.rows, rows });
    this.rows += rows.token.length;
  }

  /** Rows in the order of arrival, in pieces of at most `most` rows. */
  *inOrder(most: number): Iterable<Rows> {
    yield* this.cut(
      Uint32Array.from({ length: this.rows }, (_, row) => row),
      most,
    );
  }

  /**
   * Cuts the window into shards of at most `rowsPerShard` rows, in an order set by (seed, number of the window).
   *
   * @param memory allocates memory for this many rows
   */
  *shards(rowsPerShard: number, seed: number, memory?: (rows: number) => Rows): Iterable<Rows> {
    const order = new Generator(seed, Purpose.windowOrder, this.number).permutation(this.rows);
    yield* this.cut(order, rowsPerShard, memory);
  }

  /** The rows in the given order, copied into pieces of at most `most`. */
  private *cut(
    order: Uint32Array,
    most: number,
    memory = (rows: number) => allocateRows(rows, this.d, this.dtype),
  ): Iterable<Rows> {
    const blockOf = new Uint32Array(this.rows);
    for (const [i, { first, rows }] of this.blocks.entries()) blockOf.fill(i, first, first + rows.token.length);
    for (let start = 0; start < this.rows; start += most) {
      const picked = order.subarray(start, Math.min(start + most, this.rows));
      const shard = memory(picked.length);
      for (const [to, row] of picked.entries()) {
        const { first, rows } = this.blocks[blockOf[row]!]!;
        copyRow(rows, row - first, shard, to, this.d);
      }
      yield shard;
    }
  }
}

function copyRow(source: Rows, from: number, target: Rows, to: number, d: number): void {
  const row = source.activation.subarray(from * d, (from + 1) * d);
  (target.activation as ActivationArray).set(row, to * d);
  target.token[to] = source.token[from]!;
  target.context[to] = source.context[from]!;
  target.pos[to] = source.pos[from]!;
}

import type { ActivationDType, Manifest } from '../../src/activations/manifest.js';
import { type ActivationArray, allocateRows, type Rows } from '../../src/activations/rows.js';
import { ShardList } from '../../src/activations/shard-list.js';
import type { Store } from '../../src/activations/store.js';
import { Window } from '../../src/activations/store-writer.js';
import type { Context } from '../../src/corpus/contexts.js';
import { Generator } from '../../src/random/generator.js';

/** Tokens per context, BOS included. */
export const CONTEXT = 5;

/** Manifest of an empty store of `rows` rows to come. */
export function emptyManifest(rows: number, settings: Partial<Manifest> = {}): Manifest {
  return {
    format: 'sae-pipe-activations',
    version: 1,
    model: { name: 'm', fingerprint: 'f' },
    hook: 'blocks.0.hook_resid_post',
    d_in: 3,
    dtype: 'float32',
    context: CONTEXT,
    bos_token_id: 2,
    prepend_bos: true,
    corpus: 'c.jsonl',
    text_field: 'text',
    seed: 1,
    batch: 2,
    rows_per_shard: 10,
    window_batches: 3,
    rows_wanted: rows,
    rows: 0,
    mean_norm: null,
    complete: false,
    shards: [],
    contexts: [],
    pending: null,
    partial: null,
    ...settings,
  };
}

export function context(index: number): Context {
  const random = new Generator(40, index);
  const tokens = Int32Array.from({ length: CONTEXT }, (_, i) => (i === 0 ? 2 : 3 + random.below(1000)));
  return { index, tokens, documents: new Uint32Array(CONTEXT).fill(index >> 1) };
}

/** Rows of random bits, those of finite numbers; (context, pos) is different in each and starts with context `first`. */
export function randomRows(count: number, d: number, dtype: ActivationDType, first = 0): Rows {
  const random = new Generator(41, count, first);
  const rows = allocateRows(count, d, dtype);
  for (let i = 0; i < rows.activation.length; i++) {
    rows.activation[i] = dtype === 'float32' ? random.normal() : random.below(0x7c00);
  }
  for (let i = 0; i < count; i++) {
    rows.token[i] = random.below(1000);
    rows.context[i] = first + Math.floor(i / (CONTEXT - 1));
    rows.pos[i] = 1 + (i % (CONTEXT - 1));
  }
  return rows;
}

/** A window as harvest fills it: `passes` forward passes of two contexts, 8 rows each. */
export function filledWindow(index: number, passes: number, manifest: Manifest, kind = Window, from = 0): Window {
  const window = new kind(index, manifest.d_in, manifest.dtype);
  for (let pass = from; pass < passes; pass++) addPass(window, manifest, pass);
  return window;
}

/** Adds forward pass number `pass` of its window. */
export function addPass(window: Window, manifest: Manifest, pass: number): void {
  const first = (window.index * manifest.window_batches + pass) * manifest.batch;
  const contexts = Array.from({ length: manifest.batch }, (_, i) => context(first + i));
  const rows = randomRows(manifest.batch * (CONTEXT - 1), manifest.d_in, manifest.dtype, first);
  window.contexts.push(...contexts);
  window.add(
    rows,
    Float32Array.from(rows.token, (token) => token / 7),
  );
}

/** Rows as text, column by column, so that sets of rows can be compared. */
export function rowTexts(rows: Rows, d: number): string[] {
  return Array.from(rows.token, (token, i) =>
    [token, rows.context[i], rows.pos[i], ...rows.activation.subarray(i * d, (i + 1) * d)].join(' '),
  );
}

/** Rows `first` … `first + count` − 1 of some source, finite; the number of the row stands in its first entry, see `rowNumbers`. */
export function numberedRows(count: number, d: number, dtype: ActivationDType = 'float32', first = 0): Rows {
  const rows = allocateRows(count, d, dtype);
  for (let i = 0; i < count; i++) {
    rows.activation.fill(i % 100, i * d, (i + 1) * d);
    rows.activation[i * d] = first + i;
    rows.token[i] = 3 + ((first + i) % 50);
    rows.context[i] = Math.floor((first + i) / (CONTEXT - 1));
    rows.pos[i] = 1 + ((first + i) % (CONTEXT - 1));
  }
  return rows;
}

/** Pieces of the sizes given, numbered through. */
export function numberedPieces(sizes: readonly number[], d: number, dtype: ActivationDType = 'float32'): Rows[] {
  let first = 0;
  return sizes.map((size) => {
    const rows = numberedRows(size, d, dtype, first);
    first += size;
    return rows;
  });
}

export interface MemoryStore extends Store {
  /** Shards read so far, in order. */
  readonly reads: number[];
}

/**
 * A store in memory with shards of the sizes given; row r of the store (in the order of the manifest) holds r in its
 * first entry, see `rowNumbers`.
 */
export function memoryStore(sizes: readonly number[], dtype: ActivationDType = 'float32', d = 2): MemoryStore {
  const reads: number[] = [];
  const listed = sizes.map((rows, i) => ({ file: `s${i}.arrow`, rows, sha256: '0'.repeat(64), window: 0 }));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const { shards: _, ...manifest } = emptyManifest(total, { d_in: d, dtype, rows: total, complete: true });
  const shards = new ShardList(listed);
  const readShard = (i: number) => {
    reads.push(i);
    const rows = allocateRows(sizes[i]!, d, dtype);
    const first = sizes.slice(0, i).reduce((sum, size) => sum + size, 0);
    for (let row = 0; row < sizes[i]!; row++) rows.activation[row * d] = first + row;
    return Promise.resolve(rows);
  };
  return { directory: '', manifest, shards, parts: [{ directory: '', manifest }], readShard, reads };
}

/** Numbers of the rows in a batch of a float16 or float32 `memoryStore`. */
export function rowNumbers(batch: ActivationArray, d = 2): number[] {
  return Array.from({ length: batch.length / d }, (_, i) => batch[i * d]!);
}

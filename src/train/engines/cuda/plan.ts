import type { EngineSettings } from '../engine.js';
import { isTrained, objectiveOf } from '../objective.js';
import { stateBytes, stateShapes } from '../state.js';
import type { ProductPrecision } from './device.js';

/** Pre-activations that exist at a time: of so many bytes, whatever the dictionary. */
const SLICE_BYTES = 2 ** 28;
/** The state crosses to and from the device in pieces of so many bytes. */
export const PIECE_BYTES = 2 ** 26;
/** Lanes of a warp; features in a word of the mask. */
export const WARP = 32;
/** Tokens that one warp counts of its features. */
export const CHUNK = 128;
/** Blocks of the update, each with a partial sum of W_enc Σ dp: a constant, for the order of sums decides their bits. */
const ROW_BLOCKS = 1024;
/** Entries a token that there is room for at first. */
const FIRST_ENTRIES = 64;
/** Arrays of an entry: feature, p, df, dg token-major, token and entry feature-major. */
export const ENTRY_ARRAYS = ['feature', 'p', 'df', 'dg', 'token', 'entry'] as const;
/** Entries are counted in int. */
export const MOST_ENTRIES = 2 ** 31 - 1;

/** Sizes that follow from the settings, and every array on the device. */
export interface CudaPlan {
  readonly precision: ProductPrecision;
  /** Row length, d_in padded to 16 bytes of bfloat16; the padding is zero and stays so. */
  readonly d: number;
  /** Words of 32 features in a row of the mask. */
  readonly words: number;
  /** Features whose pre-activations exist at a time. */
  readonly slice: number;
  readonly slices: number;
  readonly chunks: number;
  /** Threads of a block that works on one row. */
  readonly threads: number;
  readonly rowBlocks: number;
  /** Bytes of each array but those of entries. */
  readonly arrays: ReadonlyMap<string, number>;
  /** Room for entries at first. */
  readonly entries: number;
  /** Bytes of the device at most, with half of all features active: so it is at the start from random weights. */
  readonly bytes: number;
}

/** @param sliceBytes of pre-activations; tests make slices small */
export function planCuda(settings: EngineSettings, sliceBytes = SLICE_BYTES): CudaPlan {
  const { dIn, dSae, batch, batchDType, precision = 'tf32' } = settings;
  const d = 8 * Math.ceil(dIn / 8);
  const words = Math.ceil(dSae / WARP);
  const sliceWords = Math.min(words, Math.max(1, Math.floor(sliceBytes / (4 * batch * WARP))));
  const slice = sliceWords * WARP;
  const slices = Math.ceil(dSae / slice);
  const chunks = Math.ceil(batch / CHUNK);
  const threads = Math.min(1024, WARP * Math.ceil(d / 256));
  const rowBlocks = Math.min(ROW_BLOCKS, dSae);
  const { auxiliary } = objectiveOf(settings);

  const arrays = new Map<string, number>();
  for (const name of stateShapes(settings).keys()) arrays.set(name, 4 * paddedSize(name, dSae, d));
  for (const slot of [0, 1]) arrays.set(`batch${slot}`, batch * dIn * (batchDType === 'float16' ? 2 : 4));
  arrays.set('xc', 4 * batch * d);
  if (precision === 'bfloat16') {
    arrays.set('xc_bfloat16', 2 * batch * d);
    arrays.set('W_enc_bfloat16', 2 * dSae * d);
  }
  arrays.set('p_slice', 4 * batch * slice);
  arrays.set('mask', 4 * batch * words);
  arrays.set('word_start', 4 * batch * words);
  arrays.set('counts', 4 * batch);
  arrays.set('token_start', 4 * (slices * batch + 1));
  arrays.set('chunk_counts', 4 * chunks * dSae);
  arrays.set('feature_counts', 4 * dSae);
  arrays.set('feature_start', 4 * (dSae + 1));
  arrays.set('updated', 4 * dSae);
  arrays.set('r', 4 * batch * d);
  if (auxiliary) arrays.set('r_aux', 4 * batch * d);
  arrays.set('token_sums', 4 * 4 * batch);
  arrays.set('variance', 4 * Math.ceil(d / WARP));
  arrays.set('dp_sum', 4 * dSae);
  if (isTrained(settings, 'b_dec')) {
    arrays.set('pull_parts', 4 * rowBlocks * d);
    for (const name of ['pull', 'r_sum', 'r_aux_sum']) arrays.set(name, 4 * d);
  }
  arrays.set('counters', COUNTER_BYTES);
  arrays.set('metrics', METRICS_BYTES);

  const entries = Math.min(batch * dSae, FIRST_ENTRIES * batch);
  const bytes = [...arrays.values()].reduce((sum, size) => sum + size, 0) + entryBytes((batch * dSae) / 2);
  return { precision, d, words, slice, slices, chunks, threads, rowBlocks, arrays, entries, bytes };
}

/** Bytes of the host: a copy of the state for a checkpoint, the batches on their way, and a piece of the state. */
export function hostBytes(settings: EngineSettings): number {
  const { batch, dIn, batchDType } = settings;
  return stateBytes(settings) + 2 * batch * dIn * (batchDType === 'float16' ? 2 : 4) + PIECE_BYTES;
}

/** Two long longs, entries token-major and feature-major, and an int, dead features. */
export const COUNTER_BYTES = 24;
/** Doubles; kernels/metrics.ts has their order. */
export const METRICS_BYTES = 7 * 8;

/** Bytes of the arrays of so many entries. */
export function entryBytes(entries: number): number {
  return ENTRY_ARRAYS.length * 4 * entries;
}

/** Elements of an array of the state on the device: what has d_in entries a row is padded, W_enc lies by features. */
export function paddedSize(name: string, dSae: number, d: number): number {
  if (name.endsWith('b_dec')) return d;
  return /W_(enc|dec)$/.test(name) ? dSae * d : dSae;
}

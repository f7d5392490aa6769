import type { ActivationDType } from '../activations/manifest.js';
import type { ActivationArray } from '../activations/rows.js';
import { type Covariance, SecondMoments } from '../activations/second-moments.js';
import { ActivationSums, medianOf, storeStatistics } from '../activations/statistics.js';
import type { Store } from '../activations/store.js';
import { FineHistogram } from '../eval/fine-histogram.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { stopRequested, throwIfStopped } from '../progress/stop.js';
import { widen } from '../safetensors/floats.js';
import { RowSums } from './row-sums.js';
import { type SummedShard, shardsInOrder } from './shard-reader.js';

/** Activations longer than this many times the median count as large. */
export const LARGE = 3;
/** Max width for computing a covariance: its eigenvalues take 4/3 d³ operations. */
export const WIDEST = 4096;
/**
 * Max multiplications for a covariance: beyond that, some chunks are evenly skipped. That takes seconds, or longer if
 * that would leave fewer than ENOUGH rows per dimension: with N rows, the effective rank is underestimated by about d /
 * 2N.
 */
const PRODUCTS = 2 ** 34;
const MOST_PRODUCTS = 2 ** 41;
const ENOUGH = 64;
/** Number of tokens with the largest norms to keep. */
const LARGEST = 20;

const STOPPED = 'nothing was written; the same command reads the store again.';

/** A row's location and norm. */
export interface LongRow {
  readonly context: number;
  readonly pos: number;
  readonly token: number;
  readonly norm: number;
}

/** The result of one pass over a store. */
export interface Survey {
  readonly sums: ActivationSums;
  /** For rows standardised individually to mean 0 and variance 1. */
  readonly normalised: ActivationSums;
  readonly norms: FineHistogram;
  /** |x − c|² of each row, where c is the mean, or in an old store without statistics that of its first shard. */
  readonly spread: FineHistogram;
  /** Statistics of rows longer than `threshold`. */
  readonly large: { readonly threshold: number; readonly rows: number; readonly spread: number };
  readonly longest: readonly LongRow[];
  /** Covariance of the sampled rows, and of those that are not large; undefined if too wide, or without rows. */
  readonly covariance?: Covariance;
  readonly withoutLarge?: Covariance;
}

/**
 * Reads a store once, from its first shard to its last; memory does not depend on the number of rows, nor do results on
 * the number of threads.
 *
 * @param threads for reading and for the covariance's products; 0: one per core
 * @throws Refusal if a shard is not what was written
 * @throws Interrupted
 */
export async function surveyStore(
  store: Store,
  threads: number,
  progress: Progress,
  stop: StopRequest,
): Promise<Survey> {
  const { manifest } = store;
  progress.begin(`reading ${manifest.hook}`, manifest.rows, 'row');
  const survey = await StoreSurvey.open(await centreOf(store), manifest, threads);
  try {
    for await (const shard of shardsInOrder(store, survey.centre, threads)) {
      throwIfStopped(stop, STOPPED);
      await survey.add(shard, async (done) => {
        progress.update(done);
        if (await stopRequested(stop)) throwIfStopped(stop, STOPPED);
      });
    }
    progress.end();
    return survey.found();
  } finally {
    await survey.release();
  }
}

/** The mean that harvest kept, or that of the first shard. */
async function centreOf(store: Store): Promise<Float64Array> {
  const { d_in: d, dtype } = store.manifest;
  const known = await storeStatistics(store.parts);
  if (known) return known.mean();
  const sums = new ActivationSums(d);
  sums.add((await store.readShard(0)).activation, dtype);
  return sums.mean();
}

class StoreSurvey {
  private readonly rows: RowSums;
  private readonly norms = new FineHistogram();
  private readonly spread = new FineHistogram();
  /** Large rows are told by the first shard, which is drawn from a whole window. */
  private threshold?: number;
  private readonly large = { rows: 0, spread: 0 };
  private longest: LongRow[] = [];
  private moments?: SecondMoments;
  private ofLarge?: SecondMoments;
  /** Share of chunks that are multiplied. */
  private share = 1;
  private chunks = 0;

  private constructor(
    /** [d] */
    readonly centre: Float64Array,
    private readonly dtype: ActivationDType,
  ) {
    this.rows = new RowSums(centre);
  }

  static async open(
    centre: Float64Array,
    { d_in: d, rows, dtype }: Pick<Store['manifest'], 'd_in' | 'rows' | 'dtype'>,
    threads: number,
  ): Promise<StoreSurvey> {
    const survey = new StoreSurvey(centre, dtype);
    if (d > WIDEST) return survey;
    const rounded = Float32Array.from(centre);
    survey.moments = await SecondMoments.open(rounded, threads);
    survey.ofLarge = await SecondMoments.open(rounded, threads);
    const most = Math.min(MOST_PRODUCTS, Math.max(PRODUCTS, ENOUGH * d ** 3));
    survey.share = Math.min(1, most / (rows * d ** 2));
    return survey;
  }

  /** Adds a shard in chunks, telling the rows so far after each. */
  async add(shard: SummedShard, added: (rows: number) => Promise<void>): Promise<void> {
    const { moments, dtype } = this;
    const d = this.centre.length;
    const before = this.rows.raw.rows;
    this.rows.merge(shard.totals, shard.norms);
    this.threshold ??= LARGE * medianOf(shard.norms);
    const rows = shard.norms.length;
    const most = moments?.chunkRows ?? rows;
    for (let at = 0; at < rows; at += most) {
      const end = Math.min(at + most, rows);
      const large = this.addRows(shard, at, end);
      this.chunks++;
      const multiplied = Math.floor(this.chunks * this.share) > Math.floor((this.chunks - 1) * this.share);
      if (multiplied) {
        const x = widened(shard.activation.subarray(at * d, end * d), dtype);
        await moments?.add(x);
        await this.ofLarge?.add(rowsOf(x, d, large));
      }
      await added(before + end);
    }
  }

  found(): Survey {
    const { norms, spread, large, longest, moments, ofLarge } = this;
    const covariance = moments?.covariance();
    const withoutLarge = moments?.covariance(ofLarge);
    const { raw: sums, normalised } = this.rows;
    const threshold = this.threshold ?? 0;
    const found = { sums, normalised, norms, spread, large: { threshold, ...large }, longest };
    return { ...found, ...(covariance && { covariance }), ...(withoutLarge && { withoutLarge }) };
  }

  async release(): Promise<void> {
    await this.moments?.release();
    await this.ofLarge?.release();
  }

  /** @returns the rows from `first` up to `end` that are large, counted from `first` */
  private addRows(shard: SummedShard, first: number, end: number): number[] {
    const { norms, spreads } = shard;
    const large: number[] = [];
    for (let row = first; row < end; row++) {
      const [norm, spread] = [norms[row]!, spreads[row]!];
      this.norms.add(norm);
      this.spread.add(spread);
      if (norm > this.threshold!) {
        large.push(row - first);
        this.large.rows++;
        this.large.spread += spread;
      }
      this.keepIfLong(shard, row, norm);
    }
    return large;
  }

  private keepIfLong({ context, pos, token }: SummedShard, row: number, norm: number): void {
    const { longest } = this;
    if (longest.length === LARGEST && norm <= longest.at(-1)!.norm) return;
    longest.push({ context: context[row]!, pos: pos[row]!, token: token[row]!, norm });
    longest.sort((a, b) => b.norm - a.norm || a.context - b.context || a.pos - b.pos);
    longest.length = Math.min(longest.length, LARGEST);
  }
}

/** Rows as float32, copied if their memory is shared: ONNX Runtime refuses shared memory. */
function widened(values: ActivationArray, dtype: ActivationDType): Float32Array {
  return values instanceof Float32Array ? values.slice() : widen(values, dtype);
}

/** Copies of rows. */
function rowsOf(x: Float32Array, d: number, rows: readonly number[]): Float32Array {
  const picked = new Float32Array(rows.length * d);
  for (const [i, row] of rows.entries()) picked.set(x.subarray(row * d, (row + 1) * d), i * d);
  return picked;
}

import type { ActivationDType } from '../activations/manifest.js';
import type { Rows } from '../activations/rows.js';
import { ActivationSums, medianOf, readStatistics } from '../activations/statistics.js';
import type { Store } from '../activations/store.js';
import { FineHistogram } from '../eval/fine-histogram.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { heard, throwIfStopped } from '../progress/stop.js';
import { widen } from '../safetensors/floats.js';
import { RowSums } from './row-sums.js';
import { type Covariance, SecondMoments } from './second-moments.js';
import { shardsInOrder } from './shard-reader.js';

/** Activations longer than this many times the median count as large. */
export const LARGE = 3;
/** Widest activations of which a covariance is computed: its eigenvalues take 4/3 d³ operations. */
export const WIDEST = 4096;
/**
 * Multiplications of a covariance: of more rows some chunks are left out, evenly. That is seconds, or more where that
 * would be fewer rows than ENOUGH for each dimension: of N rows the effective rank comes out about d / 2N too small.
 */
const PRODUCTS = 2 ** 38;
const MOST_PRODUCTS = 2 ** 41;
const ENOUGH = 64;
/** Tokens with the largest norms that are kept. */
const LARGEST = 20;

const STOPPED = 'nothing was written; the same command reads the store again.';

/** A row by its place, and its norm. */
export interface LongRow {
  readonly context: number;
  readonly pos: number;
  readonly token: number;
  readonly norm: number;
}

/** What one reading of a store gives. */
export interface Survey {
  readonly sums: ActivationSums;
  /** Of rows that were normalised one by one to mean 0 and variance 1. */
  readonly normalised: ActivationSums;
  readonly norms: FineHistogram;
  /** |x − c|² of each row, with c the mean, or in a store of before there were statistics that of its first shard. */
  readonly spread: FineHistogram;
  /** Of rows longer than `threshold`. */
  readonly large: { readonly threshold: number; readonly rows: number; readonly spread: number };
  readonly longest: readonly LongRow[];
  /** Of all rows that were multiplied, and of those that are not large; undefined where they are too wide, or none. */
  readonly covariance?: Covariance;
  readonly withoutLarge?: Covariance;
}

/** What has to be known before the first row is added. */
interface Beforehand {
  /** [d] */
  readonly centre: Float64Array;
  /** Norm above which a row is large. */
  readonly threshold: number;
}

/**
 * Reads a store once, from its first shard to its last; memory does not depend on the number of its rows.
 *
 * @throws Refusal where a shard is not what was written
 * @throws Interrupted
 */
export async function surveyStore(
  store: Store,
  threads: number,
  progress: Progress,
  stop: StopRequest,
): Promise<Survey> {
  progress.begin(`reading ${store.manifest.hook}`, store.manifest.rows, 'row');
  let survey: StoreSurvey | undefined;
  try {
    for await (const shard of shardsInOrder(store)) {
      throwIfStopped(stop, STOPPED);
      survey ??= await StoreSurvey.open(await beforehand(store, shard), store.manifest, threads);
      await survey.add(shard, async (done) => {
        progress.update(done);
        if (await heard(stop)) throwIfStopped(stop, STOPPED);
      });
    }
    progress.end();
    return await survey!.found();
  } finally {
    await survey?.release();
  }
}

/** The mean is what harvest kept. Large rows are told by the first shard, which is drawn from a whole window. */
async function beforehand(store: Store, first: Rows): Promise<Beforehand> {
  const { d_in: d, dtype } = store.manifest;
  const sums = new ActivationSums(d);
  const norms = sums.add(first.activation, dtype);
  const known = await readStatistics(store.directory, store.manifest);
  return { centre: (known ?? sums).mean(), threshold: LARGE * medianOf(norms) };
}

class StoreSurvey {
  private readonly rows: RowSums;
  private readonly norms = new FineHistogram();
  private readonly spread = new FineHistogram();
  private readonly large = { rows: 0, spread: 0 };
  private longest: LongRow[] = [];
  private moments?: SecondMoments;
  private ofLarge?: SecondMoments;
  /** Share of chunks that are multiplied. */
  private share = 1;
  private chunks = 0;

  private constructor(
    private readonly d: number,
    private readonly dtype: ActivationDType,
    private readonly before: Beforehand,
  ) {
    this.rows = new RowSums(before.centre);
  }

  static async open(
    before: Beforehand,
    { d_in: d, dtype, rows }: Pick<Store['manifest'], 'd_in' | 'dtype' | 'rows'>,
    threads: number,
  ): Promise<StoreSurvey> {
    const survey = new StoreSurvey(d, dtype, before);
    if (d > WIDEST) return survey;
    const centre = Float32Array.from(before.centre);
    survey.moments = await SecondMoments.open(centre, threads);
    survey.ofLarge = await SecondMoments.open(centre, threads);
    const most = Math.min(MOST_PRODUCTS, Math.max(PRODUCTS, ENOUGH * d ** 3));
    survey.share = Math.min(1, most / (rows * d ** 2));
    return survey;
  }

  /** Adds a shard in chunks, telling the rows so far after each. */
  async add(shard: Rows, added: (rows: number) => Promise<void>): Promise<void> {
    const { d, moments } = this;
    const most = moments?.chunkRows ?? shard.token.length;
    for (let at = 0; at < shard.token.length; at += most) {
      const end = Math.min(at + most, shard.token.length);
      const x = widen(shard.activation.subarray(at * d, end * d), this.dtype);
      const large = this.addChunk(x, shard, at);
      this.chunks++;
      const multiplied = Math.floor(this.chunks * this.share) > Math.floor((this.chunks - 1) * this.share);
      if (multiplied) {
        await moments?.add(x);
        await this.ofLarge?.add(rowsOf(x, d, large));
      }
      await added(this.rows.raw.rows);
    }
  }

  async found(): Promise<Survey> {
    const { norms, spread, large, longest, moments, ofLarge } = this;
    const { threshold } = this.before;
    const covariance = moments?.covariance();
    const withoutLarge = moments?.covariance(ofLarge);
    const { raw: sums, normalised } = this.rows;
    const found = { sums, normalised, norms, spread, large: { threshold, ...large }, longest };
    return { ...found, ...(covariance && { covariance }), ...(withoutLarge && { withoutLarge }) };
  }

  async release(): Promise<void> {
    await this.moments?.release();
    await this.ofLarge?.release();
  }

  /** @returns the rows of the chunk that are large */
  private addChunk(x: Float32Array, shard: Rows, first: number): number[] {
    const { norms, spreads } = this.rows.add(x);
    const large: number[] = [];
    for (const [row, norm] of norms.entries()) {
      this.norms.add(norm);
      this.spread.add(spreads[row]!);
      if (norm > this.before.threshold) {
        large.push(row);
        this.large.rows++;
        this.large.spread += spreads[row]!;
      }
      this.keepIfLong(shard, first + row, norm);
    }
    return large;
  }

  private keepIfLong({ context, pos, token }: Rows, row: number, norm: number): void {
    const { longest } = this;
    if (longest.length === LARGEST && norm <= longest.at(-1)!.norm) return;
    longest.push({ context: context[row]!, pos: pos[row]!, token: token[row]!, norm });
    longest.sort((a, b) => b.norm - a.norm || a.context - b.context || a.pos - b.pos);
    longest.length = Math.min(longest.length, LARGEST);
  }
}

/** Copies of rows. */
function rowsOf(x: Float32Array, d: number, rows: readonly number[]): Float32Array {
  const picked = new Float32Array(rows.length * d);
  for (const [i, row] of rows.entries()) picked.set(x.subarray(row * d, (row + 1) * d), i * d);
  return picked;
}

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readRegular } from '../disk/input-file.js';
import { writeAside } from '../disk/output-file.js';
import { Refusal } from '../errors/refusal.js';
import { encodeSafetensors, readSafetensorsHeader, type TensorToWrite } from '../safetensors/file.js';
import { readTensorBytes, widen } from '../safetensors/floats.js';
import type { ActivationDType, Manifest } from './manifest.js';
import type { ActivationArray } from './rows.js';

/** Bins of norms per octave: each is about 1.1 % wide. */
const PER_OCTAVE = 64;

/** Rows that are added at a time. */
const TOGETHER = 4;

/** Max bytes of a file of statistics: 16 per dimension, and 16 per bin of norms. */
const MOST_BYTES = 2 ** 28;

/** The numbers of ActivationSums. */
export interface PlainSums {
  readonly rows: number;
  readonly zeros: number;
  readonly sum: Float64Array;
  readonly squares: Float64Array;
  readonly norms: ReadonlyMap<number, number>;
}

/**
 * Statistics of a store's activations, as sums that can be added to those of other rows: of shards, windows, and
 * stores of one harvest. Values are those that the store holds, after rounding to its element type; sums are in
 * float64.
 */
export class ActivationSums {
  rows = 0;
  /** Rows of norm 0, which are in no bin. */
  zeros = 0;
  /** Σ x, [d] */
  readonly sum: Float64Array;
  /** Σ x², [d] */
  readonly squares: Float64Array;
  /** Rows by ⌊64 log₂ |x|⌋. */
  readonly norms = new Map<number, number>();

  constructor(readonly d: number) {
    this.sum = new Float64Array(d);
    this.squares = new Float64Array(d);
  }

  /**
   * Adds [rows × d] values as stored.
   *
   * @returns |x| of each row
   */
  add(values: ActivationArray, dtype: ActivationDType): Float64Array {
    const { d } = this;
    const norms = new Float64Array(values.length / d);
    const four = new Float32Array(values instanceof Float32Array ? 0 : TOGETHER * d);
    let row = 0;
    for (; row + TOGETHER <= norms.length; row += TOGETHER) {
      this.addFour(widen(values.subarray(row * d, (row + TOGETHER) * d), dtype, four), norms.subarray(row));
    }
    for (; row < norms.length; row++) {
      const x = widen(values.subarray(row * d, (row + 1) * d), dtype, four);
      norms[row] = Math.sqrt(this.addOne(x));
    }
    this.count(norms);
    return norms;
  }

  /** Four rows, so that each sum is read and written once for all of them. */
  private addFour(x: Float32Array, norms: Float64Array): void {
    const { d, sum, squares } = this;
    let n0 = 0;
    let n1 = 0;
    let n2 = 0;
    let n3 = 0;
    for (let i = 0; i < d; i++) {
      const a = x[i]!;
      const b = x[i + d]!;
      const c = x[i + 2 * d]!;
      const e = x[i + 3 * d]!;
      sum[i]! += a + b + (c + e);
      squares[i]! += a * a + b * b + (c * c + e * e);
      n0 += a * a;
      n1 += b * b;
      n2 += c * c;
      n3 += e * e;
    }
    norms[0] = Math.sqrt(n0);
    norms[1] = Math.sqrt(n1);
    norms[2] = Math.sqrt(n2);
    norms[3] = Math.sqrt(n3);
  }

  /** @returns |x|² */
  private addOne(x: Float32Array): number {
    const { d, sum, squares } = this;
    let norm = 0;
    for (let i = 0; i < d; i++) {
      const square = x[i]! * x[i]!;
      sum[i]! += x[i]!;
      squares[i]! += square;
      norm += square;
    }
    return norm;
  }

  /** Counts rows, whose entries are in the sums, by their norms. */
  count(norms: Float64Array): void {
    for (const norm of norms) {
      if (norm === 0) this.zeros++;
      else this.countBin(Math.floor(PER_OCTAVE * Math.log2(norm)), 1);
    }
    this.rows += norms.length;
  }

  /** In a form that can be sent to another thread. */
  plain(): PlainSums {
    const { rows, zeros, sum, squares, norms } = this;
    return { rows, zeros, sum, squares, norms };
  }

  /** Adds the sums of other rows. */
  merge(other: PlainSums): void {
    this.rows += other.rows;
    this.zeros += other.zeros;
    for (let i = 0; i < this.d; i++) {
      this.sum[i]! += other.sum[i]!;
      this.squares[i]! += other.squares[i]!;
    }
    for (const [bin, rows] of other.norms) this.countBin(bin, rows);
  }

  /** Mean of every dimension, [d]. */
  mean(): Float64Array {
    return this.sum.map((sum) => sum / this.rows);
  }

  /** Variance of every dimension, over N, [d]. */
  variance(): Float64Array {
    const mean = this.mean();
    return this.squares.map((squares, i) => Math.max(0, squares / this.rows - mean[i]! ** 2));
  }

  /** The range of bins with rows, ascending: bin i has edges[i] ≤ |x| < edges[i + 1]. */
  histogram(): { edges: number[]; counts: number[] } {
    if (this.norms.size === 0) return { edges: [], counts: [] };
    let [least, largest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const bin of this.norms.keys()) [least, largest] = [Math.min(least, bin), Math.max(largest, bin)];
    const bins = Array.from({ length: largest - least + 1 }, (_, i) => least + i);
    return {
      edges: [...bins, largest + 1].map((bin) => 2 ** (bin / PER_OCTAVE)),
      counts: bins.map((bin) => this.norms.get(bin) ?? 0),
    };
  }

  /** As tensors of a .safetensors file. */
  tensors(): TensorToWrite[] {
    const { edges, counts } = this.histogram();
    return [
      integers('rows', [this.rows]),
      integers('zero_norms', [this.zeros]),
      doubles('sum', this.sum),
      doubles('sum_of_squares', this.squares),
      doubles('norm_edges', Float64Array.from(edges)),
      integers('norm_counts', counts),
    ];
  }

  /** The bins of a saved histogram. */
  restoreNorms(edges: Float64Array, counts: readonly number[], zeros: number): void {
    this.zeros = zeros;
    for (const [i, rows] of counts.entries()) {
      if (rows > 0) this.countBin(Math.round(PER_OCTAVE * Math.log2(edges[i]!)), rows);
    }
  }

  private countBin(bin: number, rows: number): void {
    this.norms.set(bin, (this.norms.get(bin) ?? 0) + rows);
  }
}

/** |μ| / |σ| of rows: the norm of their mean relative to their spread; 0 if all are 0, ∞ if all are otherwise equal. */
export function gammaOf(sums: ActivationSums): number {
  const squares = sums.mean().reduce((sum, value) => sum + value * value, 0);
  return squares === 0 ? 0 : Math.sqrt(squares / sums.variance().reduce((sum, value) => sum + value, 0));
}

/** The middle value, or the mean of the two in the middle. */
export function medianOf(values: Float64Array): number {
  const sorted = Float64Array.from(values).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

function doubles(name: string, values: Float64Array): TensorToWrite {
  return { name, dtype: 'F64', shape: [values.length], bytes: new Uint8Array(values.buffer) };
}

function integers(name: string, values: readonly number[]): TensorToWrite {
  const whole = BigInt64Array.from(values, BigInt);
  return { name, dtype: 'I64', shape: [values.length], bytes: new Uint8Array(whole.buffer) };
}

/** Writes sums as file number `index` of a store; its entry in the manifest. */
export async function writeStatistics(
  directory: string,
  index: number,
  sums: ActivationSums,
): Promise<NonNullable<Manifest['statistics']>> {
  const file = `statistics-${String(index).padStart(5, '0')}.safetensors`;
  const bytes = encodeSafetensors(sums.tensors());
  await writeAside(join(directory, file), bytes);
  return { file, rows: sums.rows, sha256: sha256Of(bytes) };
}

/** The parts of a manifest that locate the sums of a store and describe what they cover. */
interface SummedStore {
  readonly directory: string;
  readonly manifest: Pick<Manifest, 'statistics' | 'd_in' | 'rows'>;
}

/**
 * The sums that a harvest saved with a store; undefined for older stores without, and if they do not cover exactly the
 * store's present rows.
 *
 * @throws Refusal if the file is missing, or is not what was written
 */
export async function readStatistics(
  directory: string,
  manifest: SummedStore['manifest'],
): Promise<ActivationSums | undefined> {
  const { statistics, d_in: d, rows } = manifest;
  if (!statistics || statistics.rows !== rows) return undefined;
  const path = join(directory, statistics.file);
  const changed = (what: string) =>
    new Refusal(
      `${path} is not the file that harvest wrote: ${what}.`,
      'Harvest the store again, or delete "statistics" from its manifest.json: its rows are then read instead.',
      'activations/statistics-changed',
    );
  const bytes = await readRegular(path, MOST_BYTES);
  if (!bytes) throw changed('there is no such file');
  if (sha256Of(bytes) !== statistics.sha256) throw changed('its SHA-256 is another');
  const { tensors } = await readSafetensorsHeader(path);
  const values = async (name: string, dtype: 'F64' | 'I64', length?: number) => {
    const location = tensors.get(name);
    if (location?.dtype !== dtype || (length !== undefined && location.shape[0] !== length))
      throw changed(`no ${name}`);
    return (await readTensorBytes(location)).buffer as ArrayBuffer;
  };
  const sums = new ActivationSums(d);
  const numbers = async (name: string) => Array.from(new BigInt64Array(await values(name, 'I64')), Number);
  if ((await numbers('rows'))[0] !== rows) throw changed(`it is not about the ${rows} rows of the store`);
  sums.sum.set(new Float64Array(await values('sum', 'F64', d)));
  sums.squares.set(new Float64Array(await values('sum_of_squares', 'F64', d)));
  const edges = new Float64Array(await values('norm_edges', 'F64'));
  sums.restoreNorms(edges, await numbers('norm_counts'), (await numbers('zero_norms'))[0] ?? 0);
  sums.rows = rows;
  return sums;
}

/**
 * The same for a store, or for all parts of one, added up.
 *
 * @throws Refusal as readStatistics
 */
export async function storeStatistics(parts: readonly SummedStore[]): Promise<ActivationSums | undefined> {
  let sums: ActivationSums | undefined;
  for (const { directory, manifest } of parts) {
    const found = await readStatistics(directory, manifest);
    if (!found) return undefined;
    if (sums) sums.merge(found);
    else sums = found;
  }
  return sums;
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

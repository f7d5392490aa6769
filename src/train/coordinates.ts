import type { Batch, Batches, SourceDescription } from '../activations/activation-source.js';
import type { ActivationArray, Examples } from '../activations/rows.js';
import type { TrainConfig } from '../config/stages/train.js';
import { ARCHITECTURES } from '../sae/registry.js';
import type { ParameterName, Parameters, Sae } from '../sae/sae.js';
import { widen } from '../safetensors/floats.js';
import type { Factors } from './engines/engine.js';
import { geometricMedian } from './geometric-median.js';

// --normalize per-dimension: training sees z_i = m_i x_i, where m_i is 1 over the standard deviation of dimension i. In
// real models, a few dimensions have thousands of times the variance of the others, and dominate squared errors in raw
// coordinates. The saved SAE is in raw coordinates again: the same function, with the factors folded into the weights.

/** Does a run involve settings that refer to raw activations? */
export function beginsRaw({ init, l1Convention }: Pick<TrainConfig, 'init' | 'l1Convention'>): boolean {
  return init !== undefined || l1Convention === 'paper';
}

/** --normalize, or its default. */
export function normalizationOf(
  config: Pick<TrainConfig, 'normalize' | 'init' | 'l1Convention'>,
): NonNullable<TrainConfig['normalize']> {
  return config.normalize ?? (beginsRaw(config) ? 'mean-norm' : 'per-dimension');
}

/** A dimension that hardly varies: its deviation counts as at least this share of the median dimension's. */
const FLOOR = 1e-3;
/**
 * Activations further from the centre than this many times the median are ignored: attention sinks dominate some
 * variances.
 */
const FARTHEST = 5;
/** A deviation of this share of the mean is float32 rounding. */
const ROUNDING = 2 ** -24;
/** Max activations for the geometric median that serves as the centre. */
const MIDDLE_ROWS = 1024;

/**
 * 1 over the standard deviation of every dimension, ignoring the activations furthest from the centre. Adding a
 * constant vector to all activations changes nothing.
 *
 * @param rows [rows × d]
 * @returns [d], exact in float32; undefined if activations do not vary, or vary by less than float32 can scale
 */
export function perDimension(rows: Float32Array, d: number): number[] | undefined {
  const used = rowsNearMiddle(rows, d);
  const [sum, squares] = [new Float64Array(d), new Float64Array(d)];
  for (const row of used) for (let i = 0; i < d; i++) sum[i]! += rows[row * d + i]!;
  const mean = sum.map((value) => value / used.length);
  for (const row of used) for (let i = 0; i < d; i++) squares[i]! += (rows[row * d + i]! - mean[i]!) ** 2;
  const spread = squares.map((value, i) => {
    const deviation = Math.sqrt(value / used.length);
    return deviation > ROUNDING * Math.abs(mean[i]!) || Number.isNaN(deviation) ? deviation : 0;
  });
  // Non-finite activations are reported by the first step.
  if (spread.some(Number.isNaN)) return new Array(d).fill(1);
  const floor = FLOOR * median(spread.filter((value) => value > 0));
  if (floor === 0 || Math.fround(1 / floor) === Number.POSITIVE_INFINITY) return undefined;
  return Array.from(spread, (value) => Math.fround(1 / Math.max(value, floor)));
}

/** Indices of the rows no further from the centre than FARTHEST times the median. */
export function rowsNearMiddle(rows: Float32Array, d: number): number[] {
  const middle = geometricMedian(rows.subarray(0, MIDDLE_ROWS * d), d);
  const distances = Float64Array.from({ length: rows.length / d }, (_, row) => {
    let squares = 0;
    for (let i = 0; i < d; i++) squares += (rows[row * d + i]! - middle[i]!) ** 2;
    return Math.sqrt(squares);
  });
  const most = FARTHEST * median(distances);
  return Array.from(distances.keys()).filter((row) => distances[row]! <= most);
}

const median = (values: Float64Array) => Float64Array.from(values).sort()[values.length >> 1] ?? 0;

/** Rows of a source as seen by training with factors, in float32. */
export class Coordinates {
  private readonly used: { x?: Float32Array; y?: Float32Array } = {};

  constructor(
    private readonly factors: Factors,
    private readonly source: SourceDescription,
  ) {}

  /** The description of a source with these coordinates. */
  get about(): SourceDescription {
    return { ...this.source, dtype: 'float32' };
  }

  /** A batch in these coordinates: arrays that the next call overwrites. */
  batch({ x, y }: Batch): Batch {
    const { input, target } = this.factors;
    this.used.x = this.times(x, input, this.used.x);
    if (y) this.used.y = this.times(y, target!, this.used.y);
    return { x: this.used.x, ...(y && { y: this.used.y }) };
  }

  /** Batches whose `inputs` are in these coordinates; dealt batches are unchanged. */
  looking(batches: Batches): Batches {
    const { factors, times } = this;
    return {
      seek: (rows) => batches.seek(rows),
      next: (size, into) => batches.next(size, into),
      async *inputs(occasion): AsyncIterable<Examples> {
        for await (const piece of batches.inputs(occasion)) {
          const { activation, target } = piece;
          yield {
            ...piece,
            activation: times(activation, factors.input),
            ...(target && { target: times(target, factors.target!) }),
          };
        }
      },
      textRead: (rows) => batches.textRead?.(rows),
      expectText: (text) => batches.expectText?.(text),
    };
  }

  /** [rows × d] float32 of a source's rows, times one factor per dimension. */
  private readonly times = (values: ActivationArray, factors: readonly number[], into?: Float32Array): Float32Array => {
    const wide = values instanceof Float32Array ? values : widen(values, this.source.dtype);
    const d = factors.length;
    const z = into?.length === wide.length ? into : new Float32Array(wide.length);
    for (let k = 0; k < wide.length; k += d) for (let i = 0; i < d; i++) z[k + i] = wide[k + i]! * factors[i]!;
    return z;
  };
}

/**
 * The SAE in raw coordinates that computes the same as `sae` in those of `factors`. If features do not compete, rows of
 * W_dec are renormalised: f_j is then multiplied by the row's previous length.
 */
export function inRawCoordinates(sae: Sae, { input, target = input }: Factors): Sae {
  const { dIn, dOut, dSae } = sae;
  const { competes, proportional } = ARCHITECTURES[sae.architecture];
  const parameters: Parameters = { ...sae.parameters };
  const { W_dec } = parameters;
  const raw = Float32Array.from(W_dec!, (value, k) => value / target[k % dOut]!);
  const lengths = Float64Array.from({ length: dSae }, (_, j) => {
    const row = raw.subarray(j * dOut, (j + 1) * dOut);
    const norm = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
    return competes || norm === 0 ? 1 : norm;
  });
  parameters.W_dec = raw.map((value, k) => value / lengths[Math.floor(k / dOut)]!);
  for (const name of ['W_enc', 'W_mag'] as const satisfies readonly ParameterName[]) {
    const W = parameters[name];
    if (W) parameters[name] = W.map((value, k) => value * input[Math.floor(k / dSae)]! * lengths[k % dSae]!);
  }
  for (const name of proportional) {
    const values = parameters[name];
    if (!values) continue;
    parameters[name] = values.map((value, k) => (name === 'b_dec' ? value / target[k]! : value * lengths[k]!));
  }
  const { W_skip } = parameters;
  // [d_out, d_in]
  if (W_skip) parameters.W_skip = W_skip.map((w, k) => (w * input[k % dIn]!) / target[Math.floor(k / dIn)]!);
  return { ...sae, parameters };
}

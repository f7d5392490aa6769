import type { Batch, Batches, SourceDescription } from '../activations/activation-source.js';
import type { ActivationArray, Examples } from '../activations/rows.js';
import type { TrainConfig } from '../config/stages/train.js';
import { ARCHITECTURES } from '../sae/registry.js';
import type { ParameterName, Parameters, Sae } from '../sae/sae.js';
import { widen } from '../safetensors/floats.js';
import type { Factors } from './engines/engine.js';
import { geometricMedian } from './geometric-median.js';

// --normalize per-dimension: training sees z_i = m_i x_i, where m_i is 1 over the spread of dimension i. A real model has
// a few dimensions whose variance is thousands of times that of the others, and a squared error in raw coordinates is
// theirs alone. What is saved is in raw coordinates again: the same function, with the factors folded into the weights.

/** Does a run begin with what is about raw activations? */
export function beginsRaw({ init, l1Convention }: Pick<TrainConfig, 'init' | 'l1Convention'>): boolean {
  return init !== undefined || l1Convention === 'paper';
}

/** --normalize, or what it is if not given. */
export function normalizationOf(
  config: Pick<TrainConfig, 'normalize' | 'init' | 'l1Convention'>,
): NonNullable<TrainConfig['normalize']> {
  return config.normalize ?? (beginsRaw(config) ? 'mean-norm' : 'per-dimension');
}

/** Of a dimension that hardly varies: its spread counts as this share of the median dimension's, at least. */
const FLOOR = 1e-3;
/** Activations farther from the middle than this many times the median are left out: attention sinks hold much of some variances. */
const FARTHEST = 5;
/** A deviation of this share of the mean is float32's rounding. */
const ROUNDING = 2 ** -24;
/** Activations whose geometric median is the middle. */
const MIDDLE_ROWS = 1024;

/**
 * 1 over the standard deviation of every dimension, taken without the activations farthest from the middle. A constant
 * vector on all activations changes nothing.
 *
 * @param rows [rows × d]
 * @returns [d], numbers of float32; undefined where activations do not vary, or by less than float32 can scale
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
  // Of activations that are not finite the first step tells.
  if (spread.some(Number.isNaN)) return new Array(d).fill(1);
  const floor = FLOOR * median(spread.filter((value) => value > 0));
  if (floor === 0 || Math.fround(1 / floor) === Number.POSITIVE_INFINITY) return undefined;
  return Array.from(spread, (value) => Math.fround(1 / Math.max(value, floor)));
}

/** Indices of the rows that are no farther from the middle than FARTHEST times the median. */
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

/** Rows of a source as training with factors sees them, in float32. */
export class Coordinates {
  private readonly used: { x?: Float32Array; y?: Float32Array } = {};

  constructor(
    private readonly factors: Factors,
    private readonly source: SourceDescription,
  ) {}

  /** What a source with these coordinates would say. */
  get about(): SourceDescription {
    return { ...this.source, dtype: 'float32' };
  }

  /** A batch in these coordinates: arrays that the next call writes over. */
  batch({ x, y }: Batch): Batch {
    const { input, target } = this.factors;
    this.used.x = this.times(x, input, this.used.x);
    if (y) this.used.y = this.times(y, target!, this.used.y);
    return { x: this.used.x, ...(y && { y: this.used.y }) };
  }

  /** Batches whose inputs to look at are in these coordinates; what they deal is as it was. */
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

  /** [rows × d] float32 of rows as the source has them, times a factor a dimension. */
  private readonly times = (values: ActivationArray, factors: readonly number[], into?: Float32Array): Float32Array => {
    const wide = values instanceof Float32Array ? values : widen(values, this.source.dtype);
    const d = factors.length;
    const z = into?.length === wide.length ? into : new Float32Array(wide.length);
    for (let k = 0; k < wide.length; k += d) for (let i = 0; i < d; i++) z[k + i] = wide[k + i]! * factors[i]!;
    return z;
  };
}

/**
 * The SAE in raw coordinates that computes what `sae` computes in those of `factors`. Rows of W_dec have norm 1 again,
 * where features do not compete: f_j then is as many times as large as the row was long.
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

import type { Batch, Batches, SourceDescription } from '../activations/activation-source.js';
import type { ActivationDType, NormLimit } from '../activations/manifest.js';
import type { ActivationArray, Examples } from '../activations/rows.js';
import { medianOf } from '../activations/statistics.js';
import type { TrainConfig } from '../config/stages/train.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { bfloat16Values, halfValues } from '../safetensors/floats.js';
import { mayLeaveOut, SAMPLE_ROWS, sampleRows } from './estimates.js';

// --max-activation-norm-multiple: a few activations, mostly attention sinks, are many times as long as the others, and
// dominate squared errors. They are left out of training: out of its estimates, and out of its batches, where other
// rows of the batch replace them, so that the sizes of batches and epochs do not change.

/**
 * Default of --max-activation-norm-multiple, as recommended by dictionary_learning. A lower value would treat ordinary
 * activations of some hooks as sinks (docs/explanation/activations.md).
 */
const USUAL_MULTIPLE = 10;
/** If more than this share is longer, they are not exceptions, and are only left out if requested. */
const MOST_LEFT_OUT = 0.005;

/**
 * The rule for rows that are too long in a new run; undefined if none are.
 *
 * @param say told what is left out by default
 * @throws UsageRefusal if the harvest of the store left rows out with another multiple
 */
export async function normLimitOf(
  config: TrainConfig,
  about: SourceDescription,
  batches: Batches,
  say: (line: string) => void,
  stop: StopRequest,
): Promise<NormLimit | undefined> {
  const { place, normLimit: harvested, dIn } = about;
  const { maxActivationNormMultiple: asked } = config;
  const multiple = asked ?? USUAL_MULTIPLE;
  if (harvested) {
    if (asked === 0) {
      say(
        `${place} was harvested with --max-activation-norm-multiple ${harvested.multiple}: the rows it left out are missing, and 0 cannot restore them.`,
      );
    }
    if (!asked || asked === harvested.multiple) return harvested;
    throw new UsageRefusal(
      `${place} was harvested with --max-activation-norm-multiple ${harvested.multiple}, but this command has ${asked}.`,
      'Omit it here, or harvest without it.',
      'train/norm-limit',
    );
  }
  if (!mayLeaveOut(config)) return undefined;
  const { x } = await sampleRows(batches, about, SAMPLE_ROWS, stop);
  const norms = Float64Array.from({ length: x.length / dIn }, (_, row) => normOf(x, row * dIn, dIn, 'float32'));
  const median = medianOf(norms);
  if (asked === undefined) {
    const longer = norms.filter((norm) => norm > multiple * median).length;
    if (!(median > 0) || longer === 0 || longer > MOST_LEFT_OUT * norms.length) return undefined;
    say(
      `${longer} of ${norms.length} activations are more than ${multiple} times as long as the median: such activations are left out, and eval leaves them unchanged (--max-activation-norm-multiple 0 trains on them).`,
    );
    return { multiple, median };
  }
  if (median > 0) return { multiple, median };
  throw new Refusal(
    `${place}: the median norm of the activations is 0, so --max-activation-norm-multiple has no effect.`,
    'Omit it.',
    'train/norm-limit',
  );
}

/** Rows of a source without those whose input is too long. */
export class OrdinaryRows {
  private readonly longest: number;
  private readonly used: { x?: ActivationArray; y?: ActivationArray } = {};

  /** @param left rows left out of batches so far */
  constructor(
    limit: NormLimit,
    private readonly source: SourceDescription,
    public left = 0,
  ) {
    this.longest = limit.multiple * limit.median;
  }

  /** The source for estimates: its statistics over all norms do not apply to these rows. */
  get about(): SourceDescription {
    const { target } = this.source;
    return { ...this.source, meanNorm: null, ...(target && { target: { ...target, meanNorm: null } }) };
  }

  /**
   * The batch with rows that are too long replaced by ordinary ones, in order: in a copy that the next call overwrites,
   * unless the batch itself may be changed.
   *
   * @param own whether nobody else trains on it
   * @throws Refusal if all are too long
   */
  batch(batch: Batch, own = false): Batch {
    const { dIn, target, place } = this.source;
    const { x, y } = batch;
    const { long, ordinary } = this.sorted(x);
    if (long.length === 0) return batch;
    if (ordinary.length === 0) {
      throw new Refusal(
        `${place}: every activation of a batch is longer than --max-activation-norm-multiple allows (${this.longest}).`,
        'Use a larger multiple, or a larger --batch.',
        'train/norm-limit',
      );
    }
    this.left += long.length;
    const copied = (values: ActivationArray, used?: ActivationArray): ActivationArray => {
      if (used?.length !== values.length || used.constructor !== values.constructor) return values.slice();
      (used as Float32Array).set(values as Float32Array);
      return used;
    };
    const replace = (mixed: ActivationArray, d: number): void => {
      for (const [i, row] of long.entries()) {
        const from = ordinary[i % ordinary.length]! * d;
        mixed.copyWithin(row * d, from, from + d);
      }
    };
    if (!own) {
      this.used.x = copied(x, this.used.x);
      if (y) this.used.y = copied(y, this.used.y);
    }
    const mixed = own ? batch : { x: this.used.x!, ...(y && { y: this.used.y! }) };
    replace(mixed.x, dIn);
    if (mixed.y) replace(mixed.y, target!.dOut);
    return mixed;
  }

  /** Batches whose `inputs` contain no row that is too long; dealt batches are unchanged. */
  looking(batches: Batches): Batches {
    const without = (piece: Examples) => this.without(piece);
    return {
      seek: (rows) => batches.seek(rows),
      next: (size, into) => batches.next(size, into),
      async *inputs(occasion): AsyncIterable<Examples> {
        for await (const piece of batches.inputs(occasion)) yield without(piece);
      },
      textRead: (rows) => batches.textRead?.(rows),
      expectText: (text) => batches.expectText?.(text),
    };
  }

  private without(piece: Examples): Examples {
    const { dIn, target } = this.source;
    const { long, ordinary } = this.sorted(piece.activation);
    if (long.length === 0) return piece;
    const picked = <A extends ActivationArray>(values: A, d: number): A => {
      const rows = values.slice(0, ordinary.length * d) as A;
      for (const [to, row] of ordinary.entries()) rows.set(values.subarray(row * d, (row + 1) * d), to * d);
      return rows;
    };
    const of = <A extends Int32Array | Uint32Array>(column: A) => column.slice(0, ordinary.length) as A;
    const [token, context, pos] = [of(piece.token), of(piece.context), of(piece.pos)];
    for (const [to, row] of ordinary.entries()) {
      [token[to], context[to], pos[to]] = [piece.token[row]!, piece.context[row]!, piece.pos[row]!];
    }
    return {
      ...{ token, context, pos, activation: picked(piece.activation, dIn) },
      ...(target && { target: picked(piece.target!, target.dOut) }),
    };
  }

  /** Indices of rows that are too long, and of the others. */
  private sorted(x: ActivationArray): { long: number[]; ordinary: number[] } {
    const { dIn, dtype } = this.source;
    const [long, ordinary]: [number[], number[]] = [[], []];
    for (let row = 0; row * dIn < x.length; row++) {
      (isLonger(x, row * dIn, dIn, dtype, this.longest) ? long : ordinary).push(row);
    }
    return { long, ordinary };
  }
}

/** Relative tolerance: sums of squares that differ by more compare equally in any order of summation. */
const NEAR = 1e-9;

/** Is the norm of a row of d entries above `longest`? */
function isLonger(x: ActivationArray, at: number, d: number, dtype: ActivationDType, longest: number): boolean {
  const most = longest * longest;
  const squares = x instanceof Float32Array ? sumOfSquares(x, at, d) : sumOfBits(x, at, d, valuesOf(dtype));
  return Math.abs(squares - most) > NEAR * most ? squares > most : normOf(x, at, d, dtype) > longest;
}

// Four interleaved sums have fewer dependencies: a third of the time of one.

function sumOfSquares(x: Float32Array, at: number, d: number): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let e = 0;
  let i = at;
  for (const end = at + d - 3; i < end; i += 4) {
    a += x[i]! * x[i]!;
    b += x[i + 1]! * x[i + 1]!;
    c += x[i + 2]! * x[i + 2]!;
    e += x[i + 3]! * x[i + 3]!;
  }
  for (; i < at + d; i++) a += x[i]! * x[i]!;
  return a + b + c + e;
}

/** @param values by their bits */
function sumOfBits(x: Uint16Array, at: number, d: number, values: Float32Array): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let e = 0;
  let i = at;
  for (const end = at + d - 3; i < end; i += 4) {
    const p = values[x[i]!]!;
    const q = values[x[i + 1]!]!;
    const r = values[x[i + 2]!]!;
    const s = values[x[i + 3]!]!;
    a += p * p;
    b += q * q;
    c += r * r;
    e += s * s;
  }
  for (; i < at + d; i++) a += values[x[i]!]! ** 2;
  return a + b + c + e;
}

const valuesOf = (dtype: ActivationDType) => (dtype === 'bfloat16' ? bfloat16Values() : halfValues());

/** Norm of a row of d entries of `dtype`. */
function normOf(x: ActivationArray, at: number, d: number, dtype: ActivationDType): number {
  let squares = 0;
  if (x instanceof Float32Array) for (let i = at; i < at + d; i++) squares += x[i]! ** 2;
  else {
    const values = valuesOf(dtype);
    for (let i = at; i < at + d; i++) squares += values[x[i]!]! ** 2;
  }
  return Math.sqrt(squares);
}

import { effectiveRank, symmetricEigensystem, symmetricEigenvalues } from '../activations/eigenvalues.js';
import { type Covariance, SecondMoments } from '../activations/second-moments.js';
import type { TrainConfig } from '../config/stages/train.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession } from '../onnx/session.js';
import type { Directions } from '../sae/directions.js';
import { rowsNearMiddle } from './coordinates.js';
import type { EngineSettings } from './engines/engine.js';
import { SAMPLE_ROWS, type Sample, startsWithin } from './estimates.js';
import { arithmeticMean } from './geometric-median.js';

// --init-subspace: activations of some hooks, above all attention outputs, have a low effective rank, and randomly
// drawn features mostly point elsewhere. Features are drawn within the leading directions instead (Wang et al. 2025,
// arXiv 2508.16929), in the coordinates used for training.

/** If `auto` would keep more than this share of the dimensions, features stay as drawn. */
const NEARLY_ALL = 0.9;
/** Sample size per dimension, and in total. */
const [ROWS_PER_DIMENSION, LEAST_ROWS] = [16, 4096];
/** Max width for finding directions: that takes about 5 d³ operations. */
const WIDEST = 4096;
/** Rows of W_dec projected at a time. */
const STRIP = 4096;

/** Number of initial directions of features; a side without one is left as drawn. */
export interface SubspaceSizes {
  readonly input?: number;
  /** If the target is not the input. */
  readonly target?: number;
}

type Settings = Pick<TrainConfig, 'initSubspace' | 'init'>;
type Widths = Pick<EngineSettings, 'dIn' | 'dOut'>;

/** Sample size; 0 without a subspace. */
export function subspaceRows(config: Settings, { dIn, dOut = 0 }: Widths): number {
  if (!startsWithin(config)) return 0;
  return Math.min(SAMPLE_ROWS, Math.max(LEAST_ROWS, ROWS_PER_DIMENSION * Math.max(dIn, dOut)));
}

/** Bytes of a covariance, of the basis for finding its directions, and of both in one graph. */
export function subspaceBytes(config: Settings, { dIn, dOut = 0 }: Widths): number {
  const d = Math.max(dIn, dOut);
  return startsWithin(config) && d <= WIDEST ? 4 * 8 * d * d : 0;
}

/**
 * @param widths undefined if not known yet
 * @throws UsageRefusal if --init-subspace cannot be combined with another flag, or does not fit the activations
 */
export function checkSubspace({ initSubspace, init }: Settings, widths?: Widths): void {
  if (initSubspace === 'none') return;
  if (init !== undefined) {
    throw new UsageRefusal(
      '--init starts from an SAE, but --init-subspace applies to randomly drawn features.',
      'Omit one of the two.',
      'train/subspace',
    );
  }
  if (!widths || initSubspace === 'auto') return;
  const { dIn, dOut = dIn } = widths;
  if (Number(initSubspace) > Math.min(dIn, dOut)) {
    throw new UsageRefusal(
      `--init-subspace ${initSubspace} is more than the ${Math.min(dIn, dOut)} dimensions of the activations.`,
      'Use a smaller number, or auto.',
      'train/subspace',
    );
  }
  if (Math.max(dIn, dOut) > WIDEST) {
    throw new UsageRefusal(
      `--init-subspace ${initSubspace} needs the directions of activations of ${Math.max(dIn, dOut)} dimensions, but at most ${WIDEST} are supported.`,
      'Use --init-subspace none.',
      'train/subspace',
    );
  }
}

/**
 * The initial directions of features: drawn, projected into the subspace and renormalised.
 *
 * @param drawn random ones
 * @param sample of activations in the coordinates used for training
 * @throws Refusal if the sample has fewer rows than --init-subspace has directions
 */
export async function withinSubspace(
  drawn: Directions,
  { x, y }: Sample,
  { initSubspace }: Settings,
  { dIn, dOut, dSae, threads = 0 }: EngineSettings,
): Promise<{ directions: Directions; sizes: SubspaceSizes }> {
  const input = await leadingBasis(x, dIn, initSubspace, threads);
  const k = input ? { input: input.length / dIn } : {};
  if (dOut === undefined) {
    if (!input) return { directions: drawn, sizes: k };
    const W_dec = await moved(drawn.W_dec, input, dIn, threads);
    return { directions: { W_enc: transposed(W_dec, dSae, dIn), W_dec }, sizes: k };
  }
  const target = await leadingBasis(y!, dOut, initSubspace, threads);
  const encoders = input && (await moved(transposed(drawn.W_enc, dIn, dSae), input, dIn, threads));
  return {
    directions: {
      W_enc: encoders ? transposed(encoders, dSae, dIn) : drawn.W_enc,
      W_dec: target ? await moved(drawn.W_dec, target, dOut, threads) : drawn.W_dec,
    },
    sizes: { ...k, ...(target && { target: target.length / dOut }) },
  };
}

/** [columns, rows] of [rows, columns] */
function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const turned = new Float32Array(values.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) turned[j * rows + i] = values[i * columns + j]!;
  return turned;
}

/** The result, in words. */
export function subspaceSentence({ input, target }: SubspaceSizes, { dIn, dOut }: Widths): string {
  const side = (k: number | undefined, d: number) => (k === undefined ? `all ${d}` : `the ${k} leading ones of ${d}`);
  const sides =
    dOut === undefined
      ? side(input, dIn)
      : `${side(input, dIn)} at the input, and within ${side(target, dOut)} at the target`;
  return `Directions in which features start (--init-subspace): within ${sides}.`;
}

/**
 * Leading directions of rows about their mean, ignoring those far from the centre: orthonormal, [k × d].
 *
 * @returns undefined if all directions are used, or none can be found
 */
async function leadingBasis(
  x: Float32Array,
  d: number,
  asked: TrainConfig['initSubspace'],
  threads: number,
): Promise<Float32Array | undefined> {
  if (d > WIDEST) return undefined;
  const { rows, matrix } = await covarianceOf(x, d, threads);
  // Non-finite activations are reported by the first step.
  if (!matrix.every(Number.isFinite)) return undefined;
  const k = asked === 'auto' ? directionsFilled(matrix, d) : Number(asked);
  if (k === undefined) return undefined;
  if (rows <= k) {
    throw new Refusal(
      `--init-subspace ${k} needs more than ${k} activations to find its directions, but there are only ${rows}.`,
      'Use a smaller number, or harvest more.',
      'train/subspace',
    );
  }
  const { direction } = symmetricEigensystem(matrix, d);
  const basis = new Float32Array(k * d);
  for (let rank = 0; rank < k; rank++) basis.set(direction(rank), rank * d);
  return basis;
}

async function covarianceOf(x: Float32Array, d: number, threads: number): Promise<Covariance> {
  const used = rowsNearMiddle(x, d);
  const ordinary = new Float32Array(used.length * d);
  for (const [to, row] of used.entries()) ordinary.set(x.subarray(row * d, (row + 1) * d), to * d);
  const moments = await SecondMoments.open(Float32Array.from(arithmeticMean(ordinary, d)), threads);
  try {
    const step = moments.chunkRows * d;
    for (let at = 0; at < ordinary.length; at += step) await moments.add(ordinary.subarray(at, at + step));
    return moments.covariance() ?? { rows: 0, matrix: new Float64Array(d * d).fill(Number.NaN) };
  } finally {
    await moments.release();
  }
}

/**
 * The number of directions for `auto`: the effective rank with every dimension scaled to equal variance, so that one
 * large dimension does not dominate; undefined if that is nearly all of them, or nothing varies.
 * docs/explanation/training.md explains why.
 *
 * @param covariance [d × d]
 */
function directionsFilled(covariance: Float64Array, d: number): number | undefined {
  const spread = Float64Array.from({ length: d }, (_, i) => Math.sqrt(Math.max(0, covariance[i * d + i]!)));
  const correlation = covariance.map((value, at) => {
    const scale = spread[Math.floor(at / d)]! * spread[at % d]!;
    return scale > 0 ? value / scale : 0;
  });
  const k = Math.round(effectiveRank(symmetricEigenvalues(correlation, d)));
  return k > 0 && k <= NEARLY_ALL * d ? k : undefined;
}

/** Rows [n × d] projected onto the span of `basis` [k × d] and normalised. */
async function moved(rows: Float32Array, basis: Float32Array, d: number, threads: number): Promise<Float32Array> {
  const { Tensor } = await onnxRuntime();
  const session = await openSession(projection(d, basis.length / d), { threads });
  const within = new Float32Array(rows.length);
  try {
    const axes = new Tensor('float32', basis, [basis.length / d, d]);
    for (let at = 0; at < rows.length; at += STRIP * d) {
      const strip = rows.slice(at, at + STRIP * d);
      const { projected } = await session.run({ axes, rows: new Tensor('float32', strip, [strip.length / d, d]) });
      within.set(projected!.data as Float32Array, at);
    }
  } finally {
    await session.release();
  }
  for (let at = 0; at < within.length; at += d) {
    const row = within.subarray(at, at + d);
    const norm = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
    for (let i = 0; i < d; i++) row[i]! /= norm;
  }
  return within;
}

/** Inputs `rows` [n, d] and `axes` [k, d], orthonormal; output `projected` [n, d], the part of each row within their span. */
function projection(d: number, k: number): Uint8Array {
  const g = new GraphBuilder('projection');
  const rows = g.input('rows', 'float32', ['n', d]);
  const axes = g.input('axes', 'float32', [k, d]);
  g.output('projected', g.matmul(g.matmul(rows, axes, { transB: true }), axes), 'float32', ['n', d]);
  return g.encode();
}

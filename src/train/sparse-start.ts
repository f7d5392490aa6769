import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession } from '../onnx/session.js';
import { trainingOf } from '../sae/registry.js';
import type { Sae, Sizes } from '../sae/sae.js';

/** Mean L0 at initialisation. docs/explanation/training.md has the measurements behind it. */
export const FIRST_L0 = 32;
/** For a small dictionary, at most this share of it. */
const LARGEST_SHARE = 1 / 16;
/** If L0 is fixed: target for E[(x̂ − b_dec)·(x − b_dec)] / E|x − b_dec|² of the first reconstruction. */
const FIRST_SIZE = 1 / 4;
/** Sample size for thresholds and scale. */
export const START_ROWS = 4096;
const SCALE_ROWS = 1024;
/** Features whose pre-activations are held at a time. */
const STRIP = 256;

/**
 * Makes training start at a sparsity typical of later training. With zero biases, half of all features fire, and x̂ is
 * many times as long as x.
 *
 * @param sae from `initialise`, changed in place
 * @param input a sample of encoder inputs [rows × d_in], at the training scale, with b_dec subtracted if applicable
 */
export async function startSparse(sae: Sae, input: Float32Array, options: unknown, threads: number): Promise<void> {
  const { parameters, dIn } = sae;
  const { sparseStart } = trainingOf(sae.architecture);
  if (sparseStart?.kind === 'thresholds') {
    const thresholds = await firstThresholds(input, parameters.W_enc!, sae, threads);
    Object.assign(parameters, sparseStart.opening(thresholds));
  } else if (sparseStart?.kind === 'scale') {
    const sample = input.subarray(0, SCALE_ROWS * dIn);
    const scale = await encoderScale(sample, parameters.W_enc!, sae, { k: sparseStart.firing(options), threads });
    parameters.W_enc = parameters.W_enc!.map((value) => value * scale);
  }
}

/** How many of `rows` pre-activations exceed a feature's threshold: the same for every feature. */
function exceeding(rows: number, dSae: number): number {
  const firing = Math.min(FIRST_L0, LARGEST_SHARE * dSae);
  return Math.max(1, Math.min(rows - 1, Math.round((rows * firing) / dSae)));
}

/**
 * Thresholds at which every feature fires on the same share of a sample. They are quantiles of the feature's
 * pre-activations, so they do not depend on its mean, and are robust to a few very long activations.
 *
 * @param input [rows × d_in]
 * @param W_enc [d_in, d_sae]
 * @returns [d_sae]; independent of the number of threads
 */
export async function firstThresholds(
  input: Float32Array,
  W_enc: Float32Array,
  { dIn, dSae }: Pick<Sizes, 'dIn' | 'dSae'>,
  threads: number,
): Promise<Float32Array> {
  const { Tensor } = await onnxRuntime();
  const rows = input.length / dIn;
  const thresholds = new Float32Array(dSae);
  if (rows < 2) return thresholds;
  const session = await openSession(belowTheLargest(exceeding(rows, dSae)), { threads });
  try {
    const x = new Tensor('float32', input, [rows, dIn]);
    for (let first = 0; first < dSae; first += STRIP) {
      const features = Math.min(STRIP, dSae - first);
      const W = new Tensor('float32', columns(W_enc, { dIn, dSae }, first, features), [dIn, features]);
      const { threshold } = await session.run({ x, W });
      thresholds.set(threshold!.data as Float32Array, first);
    }
  } finally {
    await session.release();
  }
  // Non-finite activations are reported by the first step.
  return thresholds.map((t) => (Number.isFinite(t) ? t : 0));
}

/**
 * The midpoint between the k-th and the (k + 1)-th largest in each column of x W: [features]. At either value itself,
 * rounding would decide whether that activation fires.
 */
function belowTheLargest(k: number): Uint8Array {
  const g = new GraphBuilder('first-thresholds');
  const x = g.input('x', 'float32', ['rows', 'd_in']);
  const W = g.input('W', 'float32', ['d_in', 'features']);
  const [largest] = g.ops('TopK', [g.matmul(W, x, { transA: true, transB: true }), g.ints(k + 1)], 2, { axis: -1 });
  const around = g.slice(largest!, k - 1, k + 1, 1);
  g.output('threshold', g.op('ReduceMean', [around, g.ints(1)], { keepdims: 0 }), 'float32', ['features']);
  return g.encode();
}

/**
 * The factor on W_enc at which the k largest of each token reconstruct FIRST_SIZE of the input: with unit decoder rows
 * equal to the encoder's, (x̂ − b_dec)·(x − b_dec) is the sum of their squares.
 *
 * @param input [rows × d_in]
 * @param W_enc [d_in, d_sae], columns of norm 1
 */
export async function encoderScale(
  input: Float32Array,
  W_enc: Float32Array,
  { dIn, dSae }: Pick<Sizes, 'dIn' | 'dSae'>,
  { k, threads }: { readonly k: number; readonly threads: number },
): Promise<number> {
  const { Tensor } = await onnxRuntime();
  const rows = input.length / dIn;
  const session = await openSession(largestSoFar(k), { threads });
  let largest = new Tensor('float32', new Float32Array(rows * k), [rows, k]);
  try {
    const x = new Tensor('float32', input, [rows, dIn]);
    for (let first = 0; first < dSae; first += STRIP) {
      const features = Math.min(STRIP, dSae - first);
      const W = new Tensor('float32', columns(W_enc, { dIn, dSae }, first, features), [dIn, features]);
      const { next } = await session.run({ x, W, largest });
      largest = next as typeof largest;
    }
  } finally {
    await session.release();
  }
  const squares = (values: Float32Array) => values.reduce((sum, value) => sum + value * value, 0);
  const scale = (FIRST_SIZE * squares(input)) / squares(largest.data as Float32Array);
  return Number.isFinite(scale) && scale > 0 ? scale : 1;
}

/** The k largest in each row of x W and of the previous largest: [rows, k]. Negative values never are. */
function largestSoFar(k: number): Uint8Array {
  const g = new GraphBuilder('largest-so-far');
  const x = g.input('x', 'float32', ['rows', 'd_in']);
  const W = g.input('W', 'float32', ['d_in', 'features']);
  const largest = g.input('largest', 'float32', ['rows', k]);
  const all = g.op('Concat', [largest, g.matmul(x, W)], { axis: 1 });
  const [next] = g.ops('TopK', [all, g.ints(k)], 2, { axis: -1 });
  g.output('next', next!, 'float32', ['rows', k]);
  return g.encode();
}

/** Columns [first, first + features) of W_enc: [d_in, features]. */
function columns(
  W_enc: Float32Array,
  { dIn, dSae }: Pick<Sizes, 'dIn' | 'dSae'>,
  first: number,
  features: number,
): Float32Array {
  const strip = new Float32Array(dIn * features);
  for (let i = 0; i < dIn; i++) {
    strip.set(W_enc.subarray(i * dSae + first, i * dSae + first + features), i * features);
  }
  return strip;
}

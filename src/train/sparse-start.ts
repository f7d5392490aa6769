import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession } from '../onnx/session.js';
import type { Sizes } from '../sae/sae.js';

/** Features that fire per token at the start, on average. docs/training.md has the measurements behind it. */
export const FIRST_L0 = 32;
/** Of a small dictionary, this share of it at most. */
const LARGEST_SHARE = 1 / 16;
/** Activations from which thresholds are taken. */
export const THRESHOLD_ROWS = 4096;
/** Features whose pre-activations exist at a time. */
const STRIP = 256;

/** How many of `rows` pre-activations of a feature exceed its threshold: the same for every feature. */
function exceeding(rows: number, dSae: number): number {
  const firing = Math.min(FIRST_L0, LARGEST_SHARE * dSae);
  return Math.max(1, Math.min(rows - 1, Math.round((rows * firing) / dSae)));
}

/**
 * Thresholds with which every feature fires on the same share of a sample, so that training starts as sparse as it
 * continues. They are quantiles of the feature's pre-activations, so neither their mean nor a few very long activations
 * matter.
 *
 * @param input what is encoded [rows × d_in], at the training scale, b_dec subtracted where it is
 * @param W_enc [d_in, d_sae]
 * @returns [d_sae]; the same for every number of threads
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
  const session = await openSession(nextLargest(exceeding(rows, dSae)), { threads });
  try {
    const x = new Tensor('float32', input, [rows, dIn]);
    for (let first = 0; first < dSae; first += STRIP) {
      const features = Math.min(STRIP, dSae - first);
      const columns = new Float32Array(dIn * features);
      for (let i = 0; i < dIn; i++) {
        columns.set(W_enc.subarray(i * dSae + first, i * dSae + first + features), i * features);
      }
      const W = new Tensor('float32', columns, [dIn, features]);
      const { threshold } = await session.run({ x, W });
      thresholds.set(threshold!.data as Float32Array, first);
    }
  } finally {
    await session.release();
  }
  // Of activations that are not finite the first step tells.
  return thresholds.map((t) => (Number.isFinite(t) ? t : 0));
}

/** The (k + 1)-th largest of each column of x W, so that k are above it: [features]. */
function nextLargest(k: number): Uint8Array {
  const g = new GraphBuilder('first-thresholds');
  const x = g.input('x', 'float32', ['rows', 'd_in']);
  const W = g.input('W', 'float32', ['d_in', 'features']);
  const [largest] = g.ops('TopK', [g.matmul(W, x, { transA: true, transB: true }), g.ints(k + 1)], 2, { axis: -1 });
  g.output('threshold', g.op('ReduceMin', [largest!, g.ints(1)], { keepdims: 0 }), 'float32', ['features']);
  return g.encode();
}

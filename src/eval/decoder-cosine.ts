import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession, type SessionOptions } from '../onnx/session.js';
import { storedWeight, weightDType } from '../onnx/weight.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { stopRequested, throwIfStopped } from '../progress/stop.js';
import type { SaeFiles } from '../sae/saelens.js';
import { type DecoderMaxCosine, NOTHING_WRITTEN } from './record.js';

/** Rows per block: the cosines of two blocks take 64 MiB. */
const BLOCK = 4096;

/** Less than any cosine; masks the cosine of a row with itself. */
const ITSELF = -2;

/** Norm assigned to a row of zeros, to avoid dividing by 0: its cosine with any row is 0. */
const TINY = 1e-30;

/**
 * Cosines between two blocks of decoder rows. Inputs: `left` and `right` int64 [2], first and last row (exclusive).
 * Outputs: `of_left` and `of_right`, for each row of one block the largest cosine with a row of the other, excluding
 * itself.
 */
function blocksGraph({ tensors }: SaeFiles): Uint8Array {
  const g = new GraphBuilder('decoder-cosine');
  const location = tensors.W_dec!;
  const decoder = storedWeight(g, 'W_dec', location);
  const block = (name: string) => {
    const range = g.input(name, 'int64', [2]);
    const [first, end] = [g.gather(range, g.int(0)), g.gather(range, g.int(1))];
    const stored = g.op('Slice', [decoder, g.reshape(first, 1), g.reshape(end, 1), g.ints(0)]);
    const rows = weightDType(location) === 'float32' ? stored : g.cast(stored, 'float32');
    const norm = g.op('Max', [g.op('Sqrt', [g.reduceSumSquare(rows, [1], true)]), g.scalar(TINY)]);
    return { unit: g.div(rows, norm), indices: g.op('Range', [first, end, g.int(1)]) };
  };
  const [left, right] = [block('left'), block('right')];
  const itself = g.op('Equal', [g.reshape(left.indices, -1, 1), g.reshape(right.indices, 1, -1)]);
  const cosines = g.op('Where', [itself, g.scalar(ITSELF), g.matmul(left.unit, right.unit, { transB: true })]);
  g.output('of_left', g.reduceMax(cosines, [1]), 'float32', ['left']);
  g.output('of_right', g.reduceMax(cosines, [0]), 'float32', ['right']);
  return g.encode();
}

/**
 * The largest cosine of each decoder row with another row; mean and maximum over features. Computes every pair, in
 * blocks on and above the diagonal: d_sae² d_in multiplications, and memory for W_dec and one block of cosines.
 *
 * @param block rows per block
 */
export async function decoderMaxCosine(
  sae: SaeFiles,
  options: SessionOptions,
  progress: Progress,
  stop: StopRequest,
  block = BLOCK,
): Promise<DecoderMaxCosine> {
  const { dSae } = sae;
  if (dSae < 2) return { mean: Number.NaN, largest: Number.NaN };
  const { Tensor } = await onnxRuntime();
  const session = await openSession(blocksGraph(sae), options);
  const largest = new Float32Array(dSae).fill(ITSELF);
  const range = (first: number) =>
    new Tensor('int64', BigInt64Array.of(BigInt(first), BigInt(Math.min(dSae, first + block))), [2]);
  const keep = (first: number, cosines: Float32Array) => {
    for (const [i, cosine] of cosines.entries()) largest[first + i] = Math.max(largest[first + i]!, cosine);
  };
  const sizes = Array.from({ length: Math.ceil(dSae / block) }, (_, i) => Math.min(block, dSae - i * block));
  const pairs = (dSae ** 2 + sizes.reduce((sum, size) => sum + size ** 2, 0)) / 2;
  progress.begin(`comparing decoder rows of ${sae.directory}`, pairs, 'pair');
  try {
    let done = 0;
    for (let left = 0; left < dSae; left += block) {
      for (let right = left; right < dSae; right += block) {
        const { of_left, of_right } = await session.run({ left: range(left), right: range(right) });
        keep(left, of_left!.data as Float32Array);
        keep(right, of_right!.data as Float32Array);
        done += sizes[left / block]! * sizes[right / block]!;
        progress.update(done);
        if (await stopRequested(stop)) throwIfStopped(stop, NOTHING_WRITTEN);
      }
    }
    progress.end();
  } finally {
    await session.release();
  }
  return {
    mean: largest.reduce((sum, cosine) => sum + cosine, 0) / dSae,
    largest: largest.reduce((most, cosine) => Math.max(most, cosine), ITSELF),
  };
}

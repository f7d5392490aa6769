import { readAllFloats } from '../src/safetensors/floats.js';
import type { Answer, Job } from './check-gpu-job.js';

/** How far the two sides may differ: only by rounding of the products. */
const BOUNDS: Record<Job['precision'], { readonly nats: number; readonly cosine: number }> = {
  bfloat16: { nats: 2e-2, cosine: 0.999 },
  float16: { nats: 2e-2, cosine: 0.999 },
  float32: { nats: 1e-3, cosine: 0.99999 },
};

/** One thing that both sides computed. */
export interface Comparison {
  readonly what: string;
  readonly value: string;
  readonly bound: string;
  readonly agrees: boolean;
}

/** Compares losses, and rows hook by hook. */
export async function compare(
  precision: Job['precision'],
  hooks: readonly string[],
  ours: Answer & { readonly rows: string },
  peer: Answer & { readonly rows: string },
): Promise<Comparison[]> {
  const { nats, cosine } = BOUNDS[precision];
  const loss = (what: string, a: number, b: number): Comparison => {
    const difference = Math.abs(a - b);
    const value = `${difference.toExponential(1)} (${a.toFixed(4)}, ${b.toFixed(4)})`;
    return { what, value, bound: `at most ${nats}`, agrees: difference <= nats };
  };
  const found = [
    loss('loss of the model, nats', ours.clean, peer.clean),
    loss('loss zero-ablated, nats', ours.zero, peer.zero),
  ];
  const [ourRows, peerRows] = [await readAllFloats(ours.rows), await readAllFloats(peer.rows)];
  for (const hook of hooks) {
    const [a, b] = [ourRows.get(hook), peerRows.get(hook)];
    if (a?.shape.join() !== b?.shape.join()) {
      throw new Error(`${hook}: rows of shape [${a?.shape}] here, [${b?.shape}] from the peer`);
    }
    const mean = meanCosine(a!.values, b!.values, a!.shape[1]!);
    found.push({
      what: `${hook}, mean cosine`,
      value: mean.toFixed(6),
      bound: `at least ${cosine}`,
      agrees: mean >= cosine,
    });
  }
  return found;
}

/** Mean over rows of the cosine between a row of `a` and the same row of `b`; NaN where a row is zero or not finite. */
export function meanCosine(a: Float32Array, b: Float32Array, width: number): number {
  let sum = 0;
  for (let row = 0; row < a.length; row += width) {
    let [aa, ab, bb] = [0, 0, 0];
    for (let i = row; i < row + width; i++) {
      aa += a[i]! * a[i]!;
      ab += a[i]! * b[i]!;
      bb += b[i]! * b[i]!;
    }
    sum += ab / Math.sqrt(aa * bb);
  }
  return (sum * width) / a.length;
}

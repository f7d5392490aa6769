import type { Tensor } from 'onnxruntime-node';
import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession, type SessionOptions } from '../onnx/session.js';
import { forward, storedParameters } from '../sae/forward-graph.js';
import type { SaeFiles } from '../sae/saelens.js';

/** Max entries of f held at a time: 64 MiB in float32. */
const CHUNK = 2 ** 24;

/** Tokens whose f is computed at a time. */
export const encoderRows = (dSae: number): number => Math.max(1, Math.floor(CHUNK / dSae));

/**
 * The encoder of an SAE, with weights read directly from its file. Input `x` float32 [rows, d_in]; output `f` float32
 * [rows, d_sae].
 */
export function encoderGraph(sae: SaeFiles): Uint8Array {
  const g = new GraphBuilder('encoder');
  const w = storedParameters(g, sae, '');
  const x = g.input('x', 'float32', ['rows', sae.dIn]);
  // The reconstruction is not an output, so the builder omits it.
  g.output('f', forward(g, sae, w, x).f, 'float32', ['rows', sae.dSae]);
  return g.encode();
}

/** An open encoder. */
export interface Encoder {
  /**
   * f of x, in chunks of rows.
   *
   * @param x float32 [rows, d_in]
   * @param take called with each chunk [rows of it, d_sae], which is overwritten afterwards, and the number of its
   * first row
   */
  run(x: Float32Array, take: (f: Float32Array, firstRow: number) => void): Promise<void>;
  release(): Promise<void>;
}

/** Opens the encoder of an SAE. */
export async function openEncoder(sae: SaeFiles, options: SessionOptions): Promise<Encoder> {
  const { dIn, dSae } = sae;
  const session = await openSession(encoderGraph(sae), options);
  const { Tensor } = await onnxRuntime();
  const most = encoderRows(dSae);
  let buffer = new Float32Array(0);
  const outputs = new Map<number, Tensor>();
  const outputOf = (rows: number): Tensor => {
    if (buffer.length < rows * dSae) {
      buffer = new Float32Array(rows * dSae);
      outputs.clear();
    }
    const found = outputs.get(rows) ?? new Tensor('float32', buffer.subarray(0, rows * dSae), [rows, dSae]);
    outputs.set(rows, found);
    return found;
  };
  return {
    async run(x, take) {
      const count = x.length / dIn;
      for (let first = 0; first < count; first += most) {
        const rows = Math.min(most, count - first);
        const part = new Tensor('float32', x.subarray(first * dIn, (first + rows) * dIn), [rows, dIn]);
        const { f } = await session.run({ x: part }, { f: outputOf(rows) });
        take(f!.data as Float32Array, first);
      }
    },
    release: () => session.release(),
  };
}

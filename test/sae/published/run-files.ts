import { GraphBuilder } from '../../../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../../../src/onnx/session.js';
import { asFloat32, storedWeight } from '../../../src/onnx/weight.js';
import { forward } from '../../../src/sae/forward-graph.js';
import { parametersOf } from '../../../src/sae/registry.js';
import type { SaeFiles } from '../../../src/sae/saelens.js';

/** f [rows, d_sae] and x̂ [rows, d_out] of x [rows, d_in], weights read where they lie. */
export async function runFiles(sae: SaeFiles, x: Float32Array): Promise<{ f: Float32Array; xHat: Float32Array }> {
  const rows = x.length / sae.dIn;
  const g = new GraphBuilder('published');
  const input = g.input('x', 'float32', [rows, sae.dIn]);
  const w = Object.fromEntries(
    parametersOf(sae).map((name) => {
      const location = sae.tensors[name]!;
      return [name, asFloat32(g, storedWeight(g, name, location), location)];
    }),
  );
  const { f, xHat } = forward(g, sae, w, input);
  g.output('f', f, 'float32', [rows, sae.dSae]);
  g.output('x_hat', xHat, 'float32', [rows, sae.dOut]);
  const session = await openSession(g.encode());
  const { Tensor } = await onnxRuntime();
  const outputs = await session.run({ x: new Tensor('float32', x, [rows, sae.dIn]) });
  await session.release();
  return { f: outputs.f!.data as Float32Array, xHat: outputs.x_hat!.data as Float32Array };
}

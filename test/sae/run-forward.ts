import { GraphBuilder } from '../../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../../src/onnx/session.js';
import { forward } from '../../src/sae/forward-graph.js';
import { PARAMETERS } from '../../src/sae/registry.js';
import { parameterShape, type Sae, square } from '../../src/sae/sae.js';

/** f [rows, d_sae] and x̂ [rows, d_in] by the forward graph; x is [rows, d_in]. */
export async function runForward(sae: Sae, x: Float32Array): Promise<{ f: Float32Array; xHat: Float32Array }> {
  const { dIn, dSae, architecture } = sae;
  const rows = x.length / dIn;
  const g = new GraphBuilder('forward');
  const input = g.input('x', 'float32', [rows, dIn]);
  const w = Object.fromEntries(
    PARAMETERS[architecture].map((name) => [
      name,
      g.table(name, parameterShape(name, square(dIn, dSae)), sae.parameters[name]!),
    ]),
  );
  const { f, xHat } = forward(g, sae, w, input);
  g.output('f', f, 'float32', [rows, dSae]);
  g.output('reconstruction', xHat, 'float32', [rows, dIn]);
  const session = await openSession(g.encode());
  const { Tensor } = await onnxRuntime();
  const outputs = await session.run({ x: new Tensor('float32', x, [rows, dIn]) });
  await session.release();
  return { f: outputs.f!.data as Float32Array, xHat: outputs.reconstruction!.data as Float32Array };
}

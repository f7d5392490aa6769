import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession, type SessionOptions } from '../onnx/session.js';
import type { Checkpoint } from './checkpoint.js';
import { GemmaGraph } from './gemma-graph.js';
import { allHooks, type Hook } from './hooks.js';
import type { Placement } from './pass.js';

/**
 * The first hook point, in the order in which a model computes, where values of these contexts are NaN or infinite;
 * undefined where all are finite. It opens the model once more with an output a hook, so it is for when something has
 * gone wrong.
 *
 * @param ids tokens of contexts of one length, [contexts × length], as the model takes them
 * @param last looks no further than this hook
 */
export async function firstHookNotFinite(
  checkpoint: Checkpoint,
  { ids, length }: { readonly ids: BigInt64Array; readonly length: number },
  placement: Placement,
  options: SessionOptions,
  last?: Hook,
): Promise<Hook | undefined> {
  const all = allHooks(checkpoint.config);
  const end = last === undefined ? all.length : all.findIndex(({ name }) => name === last.name) + 1;
  const hooks = all.slice(0, end);
  const g = new GraphBuilder('first-not-finite');
  const tokens = g.input('tokens', 'int64', ['batch', length]);
  new GemmaGraph(g, checkpoint, length, placement).residual(tokens, (name, value) => {
    // 0 · x is 0 for numbers, and NaN for everything else.
    const zero = g.reduceSum(g.mul(value, g.scalar(0)), [0, 1, 2]);
    if (hooks.some((hook) => hook.name === name)) g.output(name, zero, 'float32', []);
    return value;
  });
  const session = await openSession(g.encode(), options);
  try {
    const { Tensor } = await onnxRuntime();
    const outputs = await session.run({ tokens: new Tensor('int64', ids, [ids.length / length, length]) });
    return hooks.find(({ name }) => Number.isNaN((outputs[name]!.data as Float32Array)[0]));
  } finally {
    await session.release();
  }
}

/** What to do about a model whose values are not finite. */
export function notFiniteRemedy({ precision, device }: Placement): string {
  if (precision === 'float16') return 'float16 ends at 65504: use --precision float32, or bfloat16 on CUDA.';
  const elsewhere = device === 'cpu' ? '' : ', or the device miscalculates; try --device cpu';
  return `The weights are damaged${elsewhere}.`;
}

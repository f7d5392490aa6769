import type { ActivationDType } from '../activations/manifest.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import { GemmaGraph } from '../lm/gemma-graph.js';
import type { Hook } from '../lm/hooks.js';
import type { Placement } from '../lm/precision.js';
import { GraphBuilder } from '../onnx/graph.js';

/** Output names of a hook in the harvest graph. */
export const outputsOf = (hook: Hook) => ({
  /** [rows, width], in the store's element type (float32 for bfloat16). */
  activation: hook.name,
  /** float32 [rows]: |x|. */
  norm: `${hook.name}/norm`,
  /** float32 []: largest |entry|. */
  largest: `${hook.name}/largest`,
});

/**
 * The graph of a harvest: tokens in, rows of activations out, cut after the deepest hook.
 *
 * Inputs: `tokens` int64 [batch, context]; `rows` int64 [rows], flat positions (batch · context + pos) to keep.
 */
export function harvestGraph(
  checkpoint: Checkpoint,
  hooks: readonly Hook[],
  context: number,
  dtype: ActivationDType,
  placement: Placement,
): Uint8Array {
  const g = new GraphBuilder('harvest');
  const tokens = g.input('tokens', 'int64', ['batch', context]);
  const rows = g.input('rows', 'int64', ['rows']);
  const wanted = new Map(hooks.map((hook) => [hook.name, hook]));
  // The JavaScript binding knows no bfloat16; those rows leave as float32 and are rounded outside.
  const outType = dtype === 'float16' ? 'float16' : 'float32';
  new GemmaGraph(g, checkpoint, context, placement).residual(tokens, (name, value) => {
    const hook = wanted.get(name);
    if (hook) {
      const output = outputsOf(hook);
      const x = g.gather(g.reshape(value, -1, hook.width), rows);
      g.output(output.activation, outType === 'float16' ? g.cast(x, 'float16') : x, outType, ['rows', hook.width]);
      g.output(output.norm, g.op('Sqrt', [g.reduceSumSquare(x, [1])]), 'float32', ['rows']);
      g.output(output.largest, g.reduceMax(g.op('Abs', [x]), [0, 1]), 'float32', []);
    }
    return value;
  });
  return g.encode();
}

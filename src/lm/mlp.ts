import type { Value } from '../onnx/graph.js';
import type { HookOfBlock } from './hooks.js';
import type { ModelWriter } from './model-writer.js';

/** Names of a gated MLP's matrices. */
export interface GatedMlp {
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

/**
 * A gated MLP with GELU by its tanh approximation (Shazeer 2020): W_down (gelu(W_gate x) ⊙ W_up x).
 *
 * @param x [..., hidden], in the precision of the products
 * @param hook called with the sites mlp.hook_pre, mlp.hook_pre_linear and mlp.hook_post
 * @returns float32 [..., hidden]
 */
export function gatedMlp(writer: ModelWriter, x: Value, { gate, up, down }: GatedMlp, hook: HookOfBlock): Value {
  const { g } = writer;
  const pre = writer.hookBetween(hook, 'mlp.hook_pre', writer.linear(x, gate));
  const activated = writer.narrow(g.op('Gelu', [writer.wide(pre)], { approximate: 'tanh' }));
  const linear = writer.hookBetween(hook, 'mlp.hook_pre_linear', writer.linear(x, up));
  const post = writer.hookBetween(hook, 'mlp.hook_post', g.mul(activated, linear));
  return writer.wide(writer.linear(post, down));
}

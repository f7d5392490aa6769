import type { Checkpoint } from '../lm/checkpoint.js';
import { GemmaGraph } from '../lm/gemma-graph.js';
import type { Hook } from '../lm/hooks.js';
import type { Placement } from '../lm/precision.js';
import { GraphBuilder, type Value } from '../onnx/graph.js';
import { asFloat32, storedWeight } from '../onnx/weight.js';
import { forward, type ParameterValues } from '../sae/forward-graph.js';
import { PARAMETERS } from '../sae/sae.js';
import type { SaeFiles } from '../sae/saelens.js';
import { chunkRows, type Logits, tokenLosses } from './token-losses.js';

/** Variants of the batch before those of the SAEs: the clean run, and the activation replaced by zero. */
export const CLEAN = 0;
export const ZERO = 1;
export const FIRST_SAE = 2;

/** Per-token figures of SAE k, float32 [spliced] each, and the counts of its features. */
export const saeOutputs = (k: number) => ({
  /** |x̂|² */
  reconstruction: `sae${k}/reconstruction`,
  /** x · x̂ */
  product: `sae${k}/product`,
  /** |x − x̂|² */
  error: `sae${k}/error`,
  /** Number of features with f > 0. */
  l0: `sae${k}/l0`,
  /** [d_sae]: counted positions on which the feature is active. */
  active: `sae${k}/active`,
});

export interface SpliceGraph {
  readonly model: Uint8Array;
  readonly variants: number;
  /** `rows` and `targets` are padded to a multiple of this. */
  readonly chunk: number;
}

/**
 * Clean run, zero ablation and the splice-in of every SAE in one graph: the model runs once up to the hook, the batch
 * becomes [x; 0; x̂₁; x̂₂; …] there, and the rest of the model runs once on the tall batch (design: docs/architecture.md).
 *
 * Inputs: `tokens` int64 [batch, context]; `spliced` int64 [spliced], flat positions whose activation is replaced (all
 * but BOS); `counted` float32 [1, spliced], 1 where a position counts; `rows` and `targets` int64 [rows], flat
 * positions whose next-token losses are wanted and the tokens that follow.
 *
 * Outputs: `nll` and `kl` [rows / chunk, variants, chunk]; `x_squared` [spliced], |x|²; `x_sum` [d_in], Σ x over counted
 * positions; and saeOutputs(k) of each SAE.
 */
export function spliceGraph(
  checkpoint: Checkpoint,
  hook: Hook,
  saes: readonly SaeFiles[],
  context: number,
  placement: Placement,
): SpliceGraph {
  const variants = FIRST_SAE + saes.length;
  const chunk = chunkRows(checkpoint.config.vocabulary, variants);
  const g = new GraphBuilder('splice-in');
  const tokens = g.input('tokens', 'int64', ['batch', context]);
  const spliced = g.input('spliced', 'int64', ['spliced']);
  const counted = g.input('counted', 'float32', [1, 'spliced']);
  const rows = g.input('rows', 'int64', ['rows']);
  const targets = g.input('targets', 'int64', ['rows']);

  const splice = (value: Value): Value => {
    const flat = g.reshape(value, -1, hook.width);
    const x = g.gather(flat, spliced);
    g.output('x_squared', g.reduceSumSquare(x, [1]), 'float32', ['spliced']);
    g.output('x_sum', g.reshape(g.matmul(counted, x), hook.width), 'float32', [hook.width]);
    const where = g.op('Unsqueeze', [spliced, g.ints(1)]);
    const variant = (replacement: Value) =>
      g.reshape(g.op('ScatterND', [flat, where, replacement]), 1, -1, context, hook.width);
    const tall = [g.reshape(value, 1, -1, context, hook.width), variant(g.sub(x, x))];
    for (const [k, sae] of saes.entries()) tall.push(variant(reconstruct(g, sae, k, x, counted)));
    return g.concat(tall, 0);
  };
  const lm = new GemmaGraph(g, checkpoint, context, placement);
  const residual = lm.residual(tokens, (name, value) => (name === hook.name ? splice(value) : value));
  const hidden = g.reshape(lm.finalNorm(residual), variants, -1, checkpoint.config.hidden);
  const logits: Logits = (h, body) => lm.logits(h, body);
  const losses = tokenLosses(g, g.gather(hidden, rows, 1), logits, targets, variants, chunk);
  g.output('nll', losses.nll, 'float32', ['chunks', variants, chunk]);
  g.output('kl', losses.kl, 'float32', ['chunks', variants, chunk]);
  return { model: g.encode(), variants, chunk };
}

/** x̂ of SAE k, whose weights are read from its own file; its figures become outputs. */
function reconstruct(g: GraphBuilder, sae: SaeFiles, k: number, x: Value, counted: Value): Value {
  const w: ParameterValues = {};
  for (const name of PARAMETERS[sae.architecture]) {
    const location = sae.tensors[name]!;
    w[name] = asFloat32(g, storedWeight(g, `sae${k}/${name}`, location), location);
  }
  const { f, xHat: reconstruction } = forward(g, sae, w, x);
  const active = g.positive(f);
  const output = saeOutputs(k);
  const perToken = (name: string, value: Value) => g.output(name, value, 'float32', ['spliced']);
  perToken(output.reconstruction, g.reduceSumSquare(reconstruction, [1]));
  perToken(output.product, g.reduceSum(g.mul(x, reconstruction), [1]));
  perToken(output.error, g.reduceSumSquare(g.sub(x, reconstruction), [1]));
  perToken(output.l0, g.reduceSum(active, [1]));
  g.output(output.active, g.reshape(g.matmul(counted, active), sae.dSae), 'float32', [sae.dSae]);
  return reconstruction;
}

import { type Checkpoint, writeModel } from '../lm/checkpoint.js';
import { hookAt } from '../lm/hooks.js';
import type { Placement } from '../lm/placement.js';
import { GraphBuilder, type Value } from '../onnx/graph.js';
import { decoderNorms } from '../sae/architecture.js';
import { forward, storedParameters } from '../sae/forward-graph.js';
import { PLAIN } from '../sae/sae.js';
import type { SteeredSae } from './steering-graph.js';

/** Names of outputs of SAE k: f and |W_dec| of its features. */
export const readingOutputs = (k: number) => ({ f: `sae${k}/f`, norms: `sae${k}/norms` });

const FINAL_NORM = 'ln_final.hook_normalized';

/**
 * SAE features in a text, and the model's prediction after it.
 *
 * Input: `tokens` int64 [1, context]. Outputs: readingOutputs(k) for each SAE, float32 [context, d_sae] and [d_sae];
 * `logits` float32 [vocabulary] after the last token; `divisor` float32 [], the divisor of the last norm there.
 */
export function readingGraph(
  checkpoint: Checkpoint,
  context: number,
  placement: Placement,
  saes: readonly SteeredSae[],
): Uint8Array {
  const g = new GraphBuilder('reading');
  const tokens = g.input('tokens', 'int64', [1, context]);
  let normalised: Value | undefined;
  const hook = hookAt([FINAL_NORM, ...saes.map(({ input }) => input.name)], (name, value) => {
    if (name === FINAL_NORM) normalised = value;
    for (const [k, { files, input }] of saes.entries()) {
      if (input.name !== name) continue;
      const w = storedParameters(g, files, `sae${k}/`);
      const { f } = forward(g, files, w, g.reshape(value, -1, files.dIn));
      g.output(readingOutputs(k).f, f, 'float32', [context, files.dSae]);
      g.output(readingOutputs(k).norms, decoderNorms(g, w), 'float32', [files.dSae]);
    }
    return value;
  });
  const lm = writeModel(g, checkpoint, context, placement);
  const residual = lm.residual(tokens, hook);
  const last = (value: Value) => g.reshape(g.gather(value, g.int(-1), 1), checkpoint.config.hidden);
  const [x, n] = [last(residual), last(normalised!)];
  // n = x / r for an RMS norm, (x − mean) / r for a layer norm, whose n has zero mean: x · n / |n|² is r for both.
  g.output('divisor', g.div(g.reduceSum(g.mul(x, n), [0]), g.reduceSumSquare(n, [0])), 'float32', []);
  const logits = lm.logits(g.reshape(last(lm.finalNorm(residual)), 1, -1));
  g.output('logits', g.reshape(logits, -1), 'float32', [checkpoint.config.vocabulary]);
  return g.encode();
}

/**
 * What features add to logits on the direct path, before the division by the last norm (ModelGraph.directLogits); null
 * if there is no linear path from the hook to the residual stream.
 *
 * Inputs: `features` int64 [n], `ids` int64 [tokens]. Output: `effects` float32 [n, tokens], for an activation of 1.
 */
export function directGraph(
  checkpoint: Checkpoint,
  placement: Placement,
  { files, hook }: SteeredSae,
): Uint8Array | null {
  const g = new GraphBuilder('direct');
  const features = g.input('features', 'int64', ['n']);
  const w = storedParameters(g, files, '');
  const rows = g.gather(w.W_dec!, features);
  const { rescale_acts_by_decoder_norm: rescaled } = files.forward ?? PLAIN;
  const written = rescaled ? g.div(rows, g.reshape(g.gather(decoderNorms(g, w), features), -1, 1)) : rows;
  const logits = writeModel(g, checkpoint, 1, placement).directLogits(hook, written);
  if (logits === null) return null;
  g.output('effects', g.gather(logits, g.input('ids', 'int64', ['tokens']), 1), 'float32', ['n', 'tokens']);
  return g.encode();
}

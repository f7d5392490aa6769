import { type Checkpoint, writeStepModel } from '../lm/checkpoint.js';
import { type KeptLayer, Past } from '../lm/past.js';
import type { Placement } from '../lm/placement.js';
import { GraphBuilder } from '../onnx/graph.js';
import { type SteeredSae, steeringHook } from './steering-graph.js';

/** A graph of one generation step, and what it caches per token. */
export interface StepGraph {
  readonly graph: Uint8Array;
  readonly kept: readonly KeptLayer[];
}

/**
 * One generation step: any number of tokens of each text (the prompt in the first step), attending to the cached keys
 * and values of earlier steps.
 *
 * Inputs: those of Past (`tokens`, `first`, `pads`, each layer's cache); with SAEs those of steeringHook. Outputs:
 * `logits` float32 [batch, vocabulary] of the next token; what to cache for this step's tokens.
 *
 * @param longest max tokens of a text, prompt and padding included
 */
export function generationGraph(
  checkpoint: Checkpoint,
  placement: Placement,
  longest: number,
  saes: readonly SteeredSae[] = [],
): StepGraph {
  const g = new GraphBuilder('step');
  const tokens = g.input('tokens', 'int64', ['batch', 'new']);
  const first = g.input('first', 'int64', [1]);
  const pads = g.input('pads', 'int64', ['batch']);
  const past = new Past(g, { tokens, first, pads, longest });
  const lm = writeStepModel(g, checkpoint, past, placement);
  const residual = lm.residual(tokens, steeringHook(g, saes, 'new'));
  const last = g.gather(lm.finalNorm(residual), g.int(-1), 1);
  g.output('logits', lm.logits(last), 'float32', ['batch', checkpoint.config.vocabulary]);
  return { graph: g.encode(), kept: past.layers };
}

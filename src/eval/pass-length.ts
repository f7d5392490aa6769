import type { GemmaConfig } from '../lm/gemma-config.js';
import { blockParameters, contextsAtOnce } from '../lm/pass-length.js';
import type { Device } from '../onnx/session.js';

/** Entries of the widest value of a pass: 768 MiB in float32. */
const WIDEST = 3 * 2 ** 26;

/**
 * Contexts that go through the model at one time, so that its memory is bounded whatever the batch and the SAEs. The
 * widest value is the MLP's over all variants, or the features of the largest SAE.
 */
export function contextsInMemory(mlp: number, context: number, variants: number, dSae = 0): number {
  return Math.max(1, Math.floor(WIDEST / (context * Math.max(mlp * variants, dSae))));
}

/** What an evaluation's pass consists of. */
export interface EvaluationPass {
  /** Block of the hook, above which every variant runs. */
  readonly layer: number;
  readonly variants: number;
  readonly saes: readonly { readonly dIn: number; readonly dSae: number }[];
  /** Tokens a context. */
  readonly context: number;
  readonly device: Device | undefined;
}

/** Contexts of one pass, at most: what memory allows, and on a CPU time. */
export function evaluationContexts(config: GemmaConfig, pass: EvaluationPass): number {
  const { layer, variants, saes, context, device } = pass;
  const { layers, hidden, mlp, vocabulary } = config;
  const below = layer + 1;
  const blocks = below + variants * (layers - below);
  const dictionaries = saes.reduce((sum, { dIn, dSae }) => sum + 2 * dIn * dSae, 0);
  const parameters = blocks * blockParameters(config) + variants * hidden * vocabulary + dictionaries;
  const widest = Math.max(0, ...saes.map(({ dSae }) => dSae));
  return Math.min(contextsInMemory(mlp, context, variants, widest), contextsAtOnce(parameters, context, device));
}

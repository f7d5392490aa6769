import type { z } from 'zod';
import { type ArrayOrigin, arraySource } from '../activations/array-source.js';
import type { TrainConfig, trainSchema } from '../config/stages/train.js';
import { UsageRefusal } from '../errors/refusal.js';
import { chooseContext } from '../lm/pass.js';
import { trainConfig } from '../train/resumed-config.js';
import { train } from '../train/train.js';
import type { Activations } from './activations.js';
import { ActivationsStore } from './activations-store.js';
import type { HookedTransformer } from './hooked-transformer.js';
import { progressOf, type RunOptions, stopOf } from './run-options.js';
import { SAE } from './sae.js';
import { flagsGiven } from './stage-options.js';

/** Activations in memory, and their origin, which cfg.json records. */
export interface CollectedActivations {
  /** Raw, [rows, d_in]; must not be modified during training. */
  readonly activations: Activations;
  readonly hookName: string;
  /** The model they come from; without it, evaluation cannot check that the SAE fits. */
  readonly model?: HookedTransformer;
  /** Tokens per context; by default 1024, or the model's longest. */
  readonly contextSize?: number;
  /** Do contexts begin with BOS? By default as for the model; rows at BOS should be left out. */
  readonly prependBos?: boolean;
}

/** Options specific to an architecture, explained in `sae-pipe train --help`. */
export interface ArchitectureOptions {
  readonly k?: number;
  readonly kAux?: number;
  readonly auxCoefficient?: number;
  readonly multiTopk?: boolean;
  readonly prefixes?: readonly number[];
  readonly prefixWeights?: readonly number[];
  readonly ablate?: readonly string[];
  readonly sparsityLoss?: 'step' | 'tanh' | 'quadratic';
  readonly bandwidth?: number;
  readonly tanhScale?: number;
  readonly steToEncoder?: boolean;
  readonly thresholdInit?: number;
  readonly preActLoss?: number;
}

/** Flags for the source of activations. */
type SourceFlags = 'activations' | 'target' | 'model' | 'corpus' | 'hook' | 'hookOut' | 'revision';

/**
 * Flags of `sae-pipe train`, their names in camel case (`--d-sae` is `dSae`), with its defaults: see docs/reference/cli.md#train.
 * `arch`, `dSae` and `out` are required.
 */
export interface TrainOptions extends Omit<z.input<typeof trainSchema>, SourceFlags>, ArchitectureOptions {
  /** Store to reconstruct, if not the input: trains a transcoder. Not with an array. */
  readonly target?: string;
}

/**
 * Trains an SAE and writes it to `out`, as `sae-pipe train` does: a SAELens directory, its training curve, and a
 * checkpoint to resume from.
 *
 * @param from a store, its directory, or activations in memory
 * @returns the opened SAE
 * @throws Refusal for a problem that a user can fix, identified by its `code` (docs/reference/refusals.md)
 * @throws Interrupted if `signal` was aborted; `resume: true` continues
 */
export async function trainSAE(
  from: ActivationsStore | string | CollectedActivations,
  options: TrainOptions,
  run: RunOptions = {},
): Promise<SAE> {
  const [progress, stop] = [progressOf(run), stopOf(run)];
  const activations = typeof from === 'string' ? from : from instanceof ActivationsStore ? from.named : undefined;
  const config: TrainConfig = await trainConfig(flagsGiven({ ...options, activations }));
  if (typeof from === 'string' || from instanceof ActivationsStore) {
    return SAE.fromPretrained(await train(config, progress, stop), run);
  }
  if (config.target !== undefined) {
    throw new UsageRefusal(
      'target is a store, but the activations are an array.',
      'Write both to stores with harvestActivations().',
      'train/target-alone',
    );
  }
  const { data, width } = from.activations;
  const source = arraySource(data, width, originOf(from));
  return SAE.fromPretrained(await train(config, progress, stop, undefined, source), run);
}

function originOf({ hookName, model, contextSize, prependBos }: CollectedActivations): ArrayOrigin {
  const session = model?.session;
  const config = session?.model.checkpoint.config;
  return {
    place: 'the array',
    corpus: 'an array',
    hook: hookName,
    model: { name: model?.cfg.modelName ?? 'unknown', fingerprint: model?.cfg.fingerprint ?? '' },
    context: contextSize ?? (config ? chooseContext(undefined, config) : 1024),
    prependBos: prependBos ?? session?.model.tokenizer.prependBos ?? true,
  };
}

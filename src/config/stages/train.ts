import { z } from 'zod';
import { ARCHITECTURES, architectureFlags, trainable, trainableParameters } from '../../sae/registry.js';
import { recipeNames } from '../recipes.js';
import { activationDTypes, enginePrecisions, engines } from '../values.js';
import { trainingRoles } from './chat-flags.js';
import {
  architecture,
  CORPUS,
  context,
  corpus,
  device,
  directory,
  documentFlags,
  excludeSpecialTokens,
  logDir,
  MODEL,
  modelSource,
  natural,
  overwrite,
  plainCount,
  positive,
  precision,
  prependBos,
  readingFlags,
  seed,
  takeOver,
  targetL0,
  threads,
  trainingHoldout,
  USUAL_L1,
} from './shared-flags.js';

/**
 * `train`: activations, from a store, a stream or a running model → sparse autoencoder. Defaults follow the
 * paper's protocol (appendix D) but for three: nothing is resampled, every dimension is divided by its standard deviation,
 * and λ multiplies sums; docs/explanation/training.md has the paper's settings.
 */
export const trainSchema = z.object({
  arch: architecture.describe(
    trainable
      .map((name) => `${name} (${ARCHITECTURES[name].about})`)
      .join(' or ')
      .replaceAll(/ or (?=.* or )/g, ', '),
  ),
  recipe: z
    .enum(recipeNames)
    .optional()
    .describe('settings as someone published them, printed in full with their source; flags that are given win'),
  // Each belongs to one architecture, which reads its own (sae/architecture.ts).
  ...(architectureFlags as object),
  train: z
    .array(z.enum(trainableParameters))
    .min(1)
    .optional()
    .describe(
      'parameters to train, with commas; the others stay as they are, bit for bit. --arch gated --init STANDARD --train r_mag,b_mag is rescale & shift of section 5.2 [default: all]',
    ),
  activations: directory
    .optional()
    .describe(
      'activation store, OUT/<hook> of harvest, or OUT where it holds one store; all parts of one (--shard of harvest) by the directory they are in, a pattern in quotes, or a list with commas; - reads what `harvest --out -` writes, from standard input',
    ),
  target: directory
    .optional()
    .describe(
      "activation store of what is to be reconstructed, where that is not the input: OUT/<hook_out> of the same harvest, e.g. an MLP's output from its input (a transcoder, Dunefsky et al. 2024) [default: --activations itself]",
    ),
  model: modelSource.model.optional().describe(`instead of --activations, with --corpus and --hook: ${MODEL}`),
  revision: modelSource.revision,
  offline: modelSource.offline,
  corpus: corpus.optional().describe(`what --model is run over: ${CORPUS}`),
  hook: z.string().min(1).optional().describe('hook point whose activations --model gives'),
  hookOut: z
    .string()
    .min(1)
    .optional()
    .describe('hook point whose activations are to be reconstructed, as --target with --model [default: --hook]'),
  context,
  prependBos,
  ...readingFlags,
  roles: trainingRoles,
  ...documentFlags,
  holdout: trainingHoldout,
  excludeSpecialTokens,
  dtype: z
    .enum(['auto', ...activationDTypes])
    .default('auto')
    .describe("element type of --model's activations in memory; auto: that of the checkpoint"),
  precision,
  contextsPerPass: positive.default(16).describe('max contexts per forward pass of --model'),
  modelDevice: z.string().optional().describe('where --model runs: cpu, cuda, cuda:N or webgpu [default: --device]'),
  modelThreads: threads.describe('threads per operator for --model (0 = all cores)'),
  poolRows: positive
    .default(2 ** 20)
    .describe(
      'activations mixed together in memory, as far as 2 GiB hold them; streams, --model and large stores hold two such pools',
    ),
  dSae: positive.describe('number of features, d_sae'),
  skip: z
    .boolean()
    .default(false)
    .describe(
      'with a target: a skip connection from the input to it, W_skip (Paulo et al. 2025); not with --engine cuda',
    ),
  // Without a default here: it is told whether it was given.
  l1: z
    .number()
    .nonnegative()
    .optional()
    .meta({ default: USUAL_L1 })
    .describe(
      "λ in |x − x̂|² + λ Σ ReLU(π_gate) (gated) or λ Σ f (standard), in sums; the paper's λ × d_in; what it multiplies in a jumprelu SAE is --sparsity-loss's (0.5 by default, 1 for quadratic)",
    ),
  l0: targetL0
    .optional()
    .describe(
      'train to this L0, the mean number of features per token, instead of to a given λ: λ begins at --l1 and is adjusted until L0 is there',
    ),
  l1Convention: z
    .enum(['sums', 'paper'])
    .default('sums')
    .describe(
      "what --l1 multiplies; sums: next to squared errors summed over d_in, on activations as they are trained on; paper: next to the paper's means over d_in, on raw activations",
    ),
  l2Normalise: z
    .boolean()
    .default(false)
    .describe('divide squared errors by E|x|², as the paper does for the standard SAE; --l1 then weighs against that'),
  l1Warmup: natural.default(0).describe('steps over which λ rises from 0'),
  l1WarmupShare: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe('the same as a share of the run, 1 for all of it [default: --l1-warmup]'),
  steps: positive.optional().describe('optimiser steps'),
  tokens: positive
    .optional()
    .describe('activations to train on, instead of --steps; epochs repeat [default: one epoch]'),
  batch: positive.default(4096).describe('activations per step'),
  lr: z.number().positive().default(3e-4).describe('learning rate of Adam'),
  warmup: natural
    .default(1000)
    .describe('steps over which the learning rate rises from 0; at most a tenth of all steps'),
  lrDecay: z
    .enum(['constant', 'cosine', 'linear'])
    .default('constant')
    .describe('what the learning rate does after its warm-up'),
  decaySteps: positive
    .optional()
    .describe('the last steps, over which the learning rate falls [default: all after the warm-up]'),
  decayShare: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe('the same as a share of the run, 0.2 for its last fifth [default: --decay-steps]'),
  lrEnd: z.number().min(0).max(1).default(0).describe('final learning rate as a fraction of --lr'),
  resampleAt: z
    .array(positive)
    .default([])
    .describe(
      'resample dead features after these steps (Bricken et al. 2023), not before --dead-window activations have been seen; repeat it, or give a list, e.g. 25000,50000',
    ),
  resampleInputs: positive
    .default(819_200)
    .describe('inputs to sample from when resampling dead features, with probability ∝ squared loss'),
  resampleWarmup: natural
    .default(1000)
    .describe('steps over which the learning rate rises from a tenth by a cosine after resampling'),
  beta1: z.number().min(0).lt(1).default(0).describe('decay of the first moment in Adam, β1; 0 as in the paper'),
  beta2: z.number().min(0).lt(1).default(0.999).describe('decay of the second moment in Adam, β2'),
  clipGradNorm: z
    .number()
    .positive()
    .optional()
    .describe(
      'cut the norm of all gradients together to this, as SAELens and dictionary_learning do to 1; W_dec counts with the part tangent to its rows; not with --engine cuda [default: none]',
    ),
  seed,
  init: directory
    .optional()
    .describe(
      'start from this SAE (as --sae of eval: a directory, one of the hub, a release) instead of random weights; a gated or a jumprelu one may start from a standard one, and with a target a transcoder from a transcoder',
    ),
  anyHook: z.boolean().default(false).describe('let --init be an SAE that was trained at another hook point'),
  anyModel: z.boolean().default(false).describe('let --init be an SAE that was trained on another model'),
  bDecInit: z
    .enum(['geometric-median', 'mean', 'zero'])
    .default('geometric-median')
    .describe(
      'b_dec at the start: the geometric median of a sample of activations, which a few very long ones do not move; their mean; or zero',
    ),
  start: z
    .enum(['sparse', 'zero'])
    .default('sparse')
    .describe(
      'what a new SAE starts from; sparse: thresholds with which every feature fires on the same share of a sample, 32 features per token in all (topk kinds: an encoder scaled to the sample); zero: as in the paper, with which half of all features fire',
    ),
  initSubspace: z
    .string()
    .overwrite(plainCount)
    .regex(/^(auto|none|[1-9]\d*)$/, 'say a number of directions, auto or none')
    .default('none')
    .describe(
      'draw features within the leading directions of the activations, where these fill few of their dimensions, as attention outputs may (Wang et al. 2025); a number of directions, or auto: their effective rank, every dimension counting alike; none: anywhere',
    ),
  normalize: z
    .enum(['per-dimension', 'mean-norm', 'unit-square', 'none'])
    .optional()
    .describe(
      'scale of activations while training, folded into the saved weights; per-dimension: every dimension to a standard deviation of 1, because a few dimensions of a real model hold most of its variance; mean-norm: mean |x| = √d_in; unit-square: mean |x|² = 1, for which --l1 is to be given [default: per-dimension; mean-norm with --init or --l1-convention paper]',
    ),
  maxActivationNormMultiple: z
    .number()
    .refine((multiple) => multiple === 0 || multiple >= 1, 'say 0, or at least 1')
    .optional()
    .describe(
      'leave activations out of training whose norm is above this many times the median, such as attention sinks; eval then leaves such positions as they are. 0: none is left out [default: 10 where a few activations are that long, but 0 with --init or --l1-convention paper]',
    ),
  order: z.enum(['shuffled', 'stored']).default('shuffled').describe('order of the activations'),
  engine: z
    .enum(engines)
    .default('auto')
    .describe(
      'how a step is computed; sparse: on the active features only, the default on cpu; reference: one dense graph; cuda: as sparse, on an NVIDIA GPU (--device cuda), only with --experimental',
    ),
  enginePrecision: z
    .enum(enginePrecisions)
    .optional()
    .describe("element type of --engine cuda's encoder product; its sums and all else are float32 [default: tf32]"),
  experimental: z
    .boolean()
    .default(false)
    .describe('allow --engine cuda, which has never run on a GPU: its kernels have been tested on a CPU only'),
  deadWindow: positive
    .default(1_000_000)
    .describe('a feature is dead after this many activations without firing; unknown until a run has seen as many'),
  logEvery: positive.default(50).describe('steps between lines of metrics.jsonl'),
  checkpointEvery: z
    .string()
    .overwrite(plainCount)
    .regex(/^\d+(min)?$/, 'say steps (1000) or minutes (10min)')
    .default('10min')
    .describe('time between checkpoints, in steps (1000) or minutes (10min); 0: only when interrupted'),
  keepCheckpoints: positive.default(2).describe('checkpoints kept, the newest ones'),
  logDir,
  discardState: z
    .boolean()
    .default(false)
    .describe(
      'keep nothing to train the finished SAE further from; saves about twice its size on disk (three times with --beta1 above 0)',
    ),
  device,
  threads: natural
    .max(1024)
    .default(0)
    .describe('worker threads of the sparse engine, threads per operator of the reference engine (0 = all cores)'),
  strict: z
    .boolean()
    .default(false)
    .describe('exit 1 when the SAE is useless (L0 below 1, explained variance below 0, …); it is written all the same'),
  out: directory.describe('directory for cfg.json, sae_weights.safetensors and metrics.jsonl'),
  overwrite,
  resume: z.boolean().default(false).describe('continue from the checkpoint in --out'),
  takeOver,
});
export type TrainConfig = z.infer<typeof trainSchema>;

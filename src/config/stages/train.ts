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
 * `train`: activations, from a store, a stream or a running model → sparse autoencoder. Defaults follow the paper's
 * protocol (appendix D) with these exceptions: no resampling, every dimension is divided by its standard deviation, λ
 * multiplies sums, the initialisation is sparse, b_dec starts at the geometric median, and a few very long activations
 * are left out. `--recipe gated-sae` has the paper's settings.
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
    .describe('published settings, printed in full with their source; flags on the command line take precedence'),
  // Each flag belongs to one architecture, which reads it itself (sae/architecture.ts).
  ...(architectureFlags as object),
  train: z
    .array(z.enum(trainableParameters))
    .min(1)
    .optional()
    .describe(
      "parameters to train, separated by commas; the others are frozen. --arch gated --init STANDARD --train r_mag,b_mag is the paper's rescale & shift, section 5.2 [default: all]",
    ),
  activations: directory
    .optional()
    .describe(
      'activation store: OUT/<hook> of harvest, or OUT if it holds one store; all parts of one (harvest --shard) by their common directory, a quoted pattern or a comma-separated list; - reads the stream of `harvest --out -` from standard input',
    ),
  target: directory
    .optional()
    .describe(
      "activation store to reconstruct instead of the input: OUT/<hook_out> of the same harvest, for example an MLP's output from its input (a transcoder, Dunefsky et al. 2024) [default: --activations itself]",
    ),
  model: modelSource.model.optional().describe(`instead of --activations, with --corpus and --hook: ${MODEL}`),
  revision: modelSource.revision,
  offline: modelSource.offline,
  corpus: corpus.optional().describe(`text to run --model over: ${CORPUS}`),
  hook: z.string().min(1).optional().describe('with --model: hook point to train on'),
  hookOut: z
    .string()
    .min(1)
    .optional()
    .describe('with --model: hook point to reconstruct, like --target [default: --hook]'),
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
    .describe("element type of --model's activations in memory; auto: the checkpoint's"),
  precision,
  contextsPerPass: positive.default(16).describe('max contexts per forward pass of --model'),
  modelDevice: z.string().optional().describe('where --model runs: cpu, cuda, cuda:N or webgpu [default: --device]'),
  modelThreads: threads.describe('threads per operator for --model (0 = all cores)'),
  poolRows: positive
    .default(2 ** 20)
    .describe(
      'size of the shuffle buffer, in activations, at most 2 GiB; streams, --model and large stores take two such buffers',
    ),
  dSae: positive.describe('number of features, d_sae'),
  skip: z
    .boolean()
    .default(false)
    .describe(
      'with a target: add a skip connection from the input to it, W_skip (Paulo et al. 2025); not with --engine cuda',
    ),
  // No default here, so that an explicit value can be told apart.
  l1: z
    .number()
    .nonnegative()
    .optional()
    .meta({ default: USUAL_L1 })
    .describe(
      "weight λ of the sparsity penalty: |x − x̂|² + λ Σ ReLU(π_gate) (gated) or λ Σ f (standard), with squared errors summed over d_in, so d_in times the paper's λ; for jumprelu, --sparsity-loss defines the penalty (default 0.5, quadratic 1)",
    ),
  l0: targetL0
    .optional()
    .describe(
      'target L0, the mean number of active features per token, instead of a fixed λ: λ starts at --l1 and is adjusted until L0 is reached',
    ),
  l1Convention: z
    .enum(['sums', 'paper'])
    .default('sums')
    .describe(
      'units of --l1; sums: squared errors summed over d_in, on activations as normalised for training; paper: averaged over d_in, on raw activations',
    ),
  l2Normalise: z
    .boolean()
    .default(false)
    .describe('divide squared errors by E|x|², as the paper does for the standard SAE; --l1 is relative to that'),
  l1Warmup: natural.default(0).describe('steps over which λ rises from 0'),
  l1WarmupShare: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe('the same as a fraction of the run; 1 for the whole run [default: --l1-warmup]'),
  steps: positive.optional().describe('number of optimiser steps'),
  tokens: positive
    .optional()
    .describe(
      'number of activations to train on, instead of --steps; more than a store contains repeats it [default: one epoch]',
    ),
  batch: positive.default(4096).describe('activations per step'),
  lr: z.number().positive().default(3e-4).describe('learning rate of Adam'),
  warmup: natural
    .default(1000)
    .describe('steps over which the learning rate rises from 0; capped at a tenth of all steps'),
  lrDecay: z
    .enum(['constant', 'cosine', 'linear'])
    .default('constant')
    .describe('shape of the learning rate after its warm-up'),
  decaySteps: positive
    .optional()
    .describe('number of steps at the end over which the learning rate falls [default: all after the warm-up]'),
  decayShare: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe('the same as a fraction of the run; 0.2 for its last fifth [default: --decay-steps]'),
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
    .describe('steps over which the learning rate recovers from a tenth, along a cosine, after resampling'),
  beta1: z.number().min(0).lt(1).default(0).describe('decay of the first moment in Adam, β1; 0 as in the paper'),
  beta2: z.number().min(0).lt(1).default(0.999).describe('decay of the second moment in Adam, β2'),
  clipGradNorm: z
    .number()
    .positive()
    .optional()
    .describe(
      'clip the total gradient norm to this, as SAELens and dictionary_learning do to 1; of W_dec’s gradient, only the component orthogonal to its rows counts; not with --engine cuda [default: no clipping]',
    ),
  seed,
  init: directory
    .optional()
    .describe(
      'start from this SAE (as for eval --sae: a directory, a hub path, a release) instead of random weights; a gated or jumprelu SAE may start from a standard one, and with a target a transcoder from a transcoder',
    ),
  anyHook: z.boolean().default(false).describe('accept an --init that was trained at another hook point'),
  anyModel: z.boolean().default(false).describe('accept an --init that was trained on another model'),
  bDecInit: z
    .enum(['geometric-median', 'mean', 'zero'])
    .default('geometric-median')
    .describe(
      'initial b_dec: the geometric median of a sample of activations, robust to a few very long ones; their mean; or zero',
    ),
  start: z
    .enum(['sparse', 'zero'])
    .default('sparse')
    .describe(
      'initialisation; sparse: thresholds such that every feature fires equally often on a sample, with L0 = 32 (topk kinds: an encoder scaled to the sample); zero: zero biases as in the paper, so that half of all features fire',
    ),
  initSubspace: z
    .string()
    .overwrite(plainCount)
    .regex(/^(auto|none|[1-9]\d*)$/, 'give a number of directions, auto or none')
    .default('none')
    .describe(
      'initialise features within the leading directions of the activations, for sites of low effective rank, such as attention outputs (Wang et al. 2025): a number of directions; auto: the effective rank, with every dimension scaled to unit standard deviation; none: in all directions',
    ),
  normalize: z
    .enum(['per-dimension', 'mean-norm', 'unit-square', 'none'])
    .optional()
    .describe(
      'scaling of activations during training, folded into the saved weights; per-dimension: every dimension to unit standard deviation, because in real models a few dimensions have most of the variance; mean-norm: mean |x| = √d_in; unit-square: mean |x|² = 1, which requires --l1 [default: per-dimension; mean-norm with --init or --l1-convention paper]',
    ),
  maxActivationNormMultiple: z
    .number()
    .refine((multiple) => multiple === 0 || multiple >= 1, 'give 0, or at least 1')
    .optional()
    .describe(
      'leave out activations whose norm is above this many times the median, such as attention sinks; eval then leaves such positions unchanged. 0: leave out none [default: 10 if a few activations are that long, but 0 with --init, --l1-convention paper or a recipe]',
    ),
  order: z.enum(['shuffled', 'stored']).default('shuffled').describe('order of the activations'),
  engine: z
    .enum(engines)
    .default('auto')
    .describe(
      'how training steps are computed; sparse: on active features only, the default on cpu; reference: one dense graph; cuda: like sparse, on an NVIDIA GPU (--device cuda), only with --experimental',
    ),
  enginePrecision: z
    .enum(enginePrecisions)
    .optional()
    .describe("element type of --engine cuda's encoder product; everything else is float32 [default: tf32]"),
  experimental: z
    .boolean()
    .default(false)
    .describe('allow --engine cuda, which has never run on a GPU: its kernels have been tested on a CPU only'),
  deadWindow: positive
    .default(1_000_000)
    .describe(
      'a feature is dead after this many activations without firing; undetermined until a run has seen that many',
    ),
  logEvery: positive.default(50).describe('steps between lines of metrics.jsonl'),
  checkpointEvery: z
    .string()
    .overwrite(plainCount)
    .regex(/^\d+(min)?$/, 'give steps (1000) or minutes (10min)')
    .default('10min')
    .describe('interval between checkpoints, in steps (1000) or minutes (10min); 0: only when interrupted'),
  keepCheckpoints: positive.default(2).describe('number of newest checkpoints to keep'),
  logDir,
  discardState: z
    .boolean()
    .default(false)
    .describe(
      'discard the state for training the finished SAE further; saves about twice its size on disk (three times with --beta1 above 0)',
    ),
  device,
  threads: natural
    .max(1024)
    .default(0)
    .describe('worker threads of the sparse engine, threads per operator of the reference engine (0 = all cores)'),
  strict: z
    .boolean()
    .default(false)
    .describe('exit 1 if the SAE is useless (L0 below 1, explained variance below 0, …); it is written anyway'),
  out: directory.describe('directory for cfg.json, sae_weights.safetensors and metrics.jsonl'),
  overwrite,
  resume: z.boolean().default(false).describe('continue from the checkpoint in --out'),
  takeOver,
});
export type TrainConfig = z.infer<typeof trainSchema>;

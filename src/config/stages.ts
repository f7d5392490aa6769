import { z } from 'zod';
import { exportFormats } from '../sae/convert.js';
import { writtenLayouts } from '../sae/published/written-layouts.js';
import { ARCHITECTURES, architectureFlags, trainable, trainableParameters } from '../sae/registry.js';
import { recipeNames } from './recipes.js';
import {
  activationDTypes,
  encodings,
  enginePrecisions,
  engines,
  figureNames,
  parseNumber,
  precisions,
  references,
} from './values.js';

// What several commands take, said once.

/** A path, or what may be one (a model may also be an id of the hub): shells complete it. */
const directory = z.string().min(1).meta({ path: true });
/** Hook points where several may be meant: names, patterns with *, and lists of both with commas. */
const hookList = z.array(z.string()).min(1).meta({ commas: true });
const positive = z.number().int().positive();
const natural = z.number().int().nonnegative();
const threads = natural.max(1024).default(0).describe('threads per operator (0 = all cores)');
const device = z.string().default('cpu').describe('where the graph runs: cpu, cuda, cuda:N or webgpu');
const overwrite = z.boolean().default(false).describe('replace what an earlier run wrote to --out');
const takeOver = z
  .boolean()
  .default(false)
  .describe(
    'take --out over from a command on another machine or in another container, where you know that it has ended; it is named first, and one that runs on this machine is still refused',
  );
const seed = natural
  .max(2 ** 32 - 1)
  .default(0)
  .describe('seed of every random choice; the same seed gives the same bytes');
const MODEL =
  'model directory (config.json, weights in one .safetensors or shards with their index, tokenizer files), or a model of the Hugging Face hub such as google/gemma-2-2b: taken from its cache (HF_HUB_CACHE, HF_HOME), else downloaded there';
/** Where a model comes from: the three flags of every command that opens one. */
const modelSource = {
  model: directory.describe(MODEL),
  revision: z
    .string()
    .min(1)
    .optional()
    .describe('branch, tag or full commit hash of a model of the hub; a commit never moves [default: main]'),
  offline: z.boolean().default(false).describe('never ask the hub; use what its cache holds (also: HF_HUB_OFFLINE=1)'),
};
/** What `saeDirectory` (sae/published/open.ts) takes. */
const SAE =
  'SAE: its directory or file, OWNER/REPO[@REVISION]/PATH of the Hugging Face hub, or RELEASE:ID as SAELens names it (docs/published-saes.md)';
const CORPUS =
  'text: a .jsonl, .ndjson, .json (JSON Lines) or .txt file (each also .gz or .zst), a .parquet file, a directory of such files, read with the directories in it, or a data set of the hub, read where it lies: hf:OWNER/DATASET[/CONFIGURATION][:SPLIT]';
const corpus = directory.describe(CORPUS);
const textField = z
  .string()
  .min(1)
  .default('text')
  .describe('key or column that holds the text in .jsonl and .parquet');
const encoding = z
  .enum(encodings)
  .default('utf-8')
  .describe('encoding of .txt and JSON Lines files; utf-16: the byte order mark says which');
const EXCLUDE = 'leave special tokens that a text has written out (<eos>, <pad>, …) out, as BOS always is';
const excludeSpecialTokens = z.boolean().default(false).describe(EXCLUDE);
/** Undefined: as the model's family has it. */
const prependBos = z
  .boolean()
  .optional()
  .describe('begin every document and every context with BOS [default: as models of the family expect; Gemma: yes]');
const context = positive
  .min(2)
  .optional()
  .describe("tokens per context, BOS included [default: 1024, or the model's longest]");

/** Of train, sweep and eval. */
const logDir = directory
  .optional()
  .describe(
    'directory for TensorBoard event files, which TensorBoard, and `wandb sync`, read without a network [default: none]',
  );

/** As dictionary_learning names it. */
const maxActivationNormMultiple = z.number().min(1).optional();

/** Which documents of a corpus are read. */
const documentFlags = {
  skipDocuments: natural.default(0).describe('documents at the beginning of the corpus that are passed over'),
  maxDocuments: positive.optional().describe('documents that are read from there, at most [default: all]'),
};
/** A share in words. */
const holdout = z
  .string()
  .regex(/^(0?\.\d*[1-9]\d*|(?=.*[1-9])\d{1,2}(\.\d+)?%)$/, 'say a share, such as 1% or 0.01')
  .optional();
const trainingHoldout = holdout.describe(
  'share of documents, told by their beginnings, that is left out, so that eval --holdout has text that training never sees: 1%',
);
const evaluationHoldout = holdout.describe('read only what harvest or train leaves out with the same --holdout: 1%');

const precision = z
  .enum(precisions)
  .default('auto')
  .describe("element type of the model's matrix products; auto: the checkpoint's own on cuda, else float32");

const architecture = z.enum(trainable).default(trainable[0]!);

/** Mean number of features per token that training aims at, where that is not left to λ. */
const targetL0 = z.number().positive();

/** λ where --l1 is not given. */
export const USUAL_L1 = 4;

/** A count as digits, however it was written (5k); what is no count stays as it is. */
const plainCount = (text: string) => String(parseNumber(text) ?? text);

/**
 * `train`: activations, from a store, a stream or a model at work → sparse autoencoder. Defaults follow the
 * paper's protocol (appendix D) but for three: nothing is resampled, activations are scaled to a mean norm of √d_in, and
 * λ multiplies sums; docs/training.md has the paper's settings.
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
      'activation store, OUT/<hook> of harvest, or OUT where it holds one store; - reads what `harvest --out -` writes, from standard input',
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
  textField,
  encoding,
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
      'activations mixed together in memory, as far as 2 GiB hold them; streams and --model hold two such pools',
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
      "what --l1 multiplies; sums: beside squared errors summed over d_in, on activations as they are trained on; paper: beside the paper's means over d_in, on raw activations",
    ),
  l2Normalise: z
    .boolean()
    .default(false)
    .describe('divide squared errors by E|x|², as the paper does for the standard SAE; --l1 is then beside that'),
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
  normalize: z
    .enum(['mean-norm', 'unit-square', 'per-dimension', 'none'])
    .default('mean-norm')
    .describe(
      'scale of activations while training, folded into the saved weights; mean-norm: mean |x| = √d_in; unit-square: mean |x|² = 1, for which --l1 is to be given; per-dimension: every dimension to a standard deviation of 1 (for sites where a few dimensions hold most of the variance)',
    ),
  maxActivationNormMultiple: maxActivationNormMultiple.describe(
    'leave activations out of training whose norm is above this many times the median, such as attention sinks; dictionary_learning recommends 10. eval then leaves such positions as they are [default: none is left out]',
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

/** `harvest`: corpus → language model → activation stores, one a hook. */
export const harvestSchema = z.object({
  ...modelSource,
  corpus,
  hook: hookList.describe(
    'hook points: a name (blocks.2.hook_resid_post), a pattern (blocks.*.hook_z) or a list of them with commas; may be repeated. All of them take one forward pass; see `sae-pipe hooks`',
  ),
  tokens: positive.describe('activations (rows) in each store, exactly; BOS positions are not activations'),
  context,
  prependBos,
  out: directory.describe(
    'directory for the stores, OUT/<hook>/; - writes the rows of one hook to standard output, for `train --activations -`',
  ),
  batch: positive.default(16).describe('max contexts per forward pass'),
  dtype: z
    .enum(['auto', ...activationDTypes])
    .default('auto')
    .describe('element type on disk; auto: that of the checkpoint, which its activations do not overflow'),
  rowsPerShard: positive.default(65_536).describe('max rows per shard file'),
  windowRows: positive
    .default(1_048_576)
    .describe(
      'rows permuted together before they are cut into shards, about; held in memory, 4 GiB at most over all hooks',
    ),
  textField,
  encoding,
  ...documentFlags,
  holdout: trainingHoldout,
  excludeSpecialTokens,
  maxActivationNormMultiple: maxActivationNormMultiple.describe(
    'leave positions out whose activation has a norm above this many times the median of the first 16,384, such as attention sinks; with one --hook [default: none is left out]',
  ),
  seed,
  device,
  precision,
  threads,
  overwrite,
  resume: z.boolean().default(false).describe('continue an unfinished harvest in --out'),
  takeOver,
});
export type HarvestConfig = z.infer<typeof harvestSchema>;

/** `sweep`: many SAEs from one pass over the activations, evaluated and drawn together. */
export const sweepSchema = z.object({
  out: directory.describe('directory for everything the sweep writes: activations, SAEs, evaluation, report.html'),
  hook: hookList
    .optional()
    .describe(
      'hook points: names, patterns or lists as for harvest; may be repeated [default: those of the harvest section]',
    ),
  arch: z.array(z.enum(trainable)).min(1).optional().describe('architecture; may be repeated'),
  dSae: z.array(positive).min(1).optional().describe('number of features; may be repeated'),
  l1: z.array(z.number().nonnegative()).min(1).optional().describe('λ; may be repeated'),
  l0: z.array(targetL0).min(1).optional().describe('L0 to train to; may be repeated'),
  seed: z.array(seed).min(1).optional().describe('seed of initialisation and order; may be repeated'),
  /** In the file only: lists of their own for groups of runs, e.g. a wider dictionary for the baseline. */
  runs: z
    .array(z.record(z.string(), z.unknown()))
    .optional()
    .describe('groups of runs: hook, and any flags of train, each a value or a list of values'),
  activations: directory
    .optional()
    .describe('directory with one store per hook (harvest output) [default: OUT/activations, harvested first]'),
  logDir: logDir.describe('directory for TensorBoard event files, a directory below it for each SAE [default: none]'),
  strict: z
    .boolean()
    .default(false)
    .describe('exit 1 when an SAE is useless (L0 below 1, explained variance below 0, …); it is written all the same'),
  takeOver,
});
export type SweepConfig = z.infer<typeof sweepSchema>;

/** `eval`: SAEs spliced into the model on held-out text → eval.json. */
export const evalSchema = z.object({
  sae: z.array(directory).min(1).describe(`${SAE}; may be repeated`),
  ...modelSource,
  corpus,
  tokens: positive.default(1_000_000).describe('positions to evaluate on, exactly; BOS positions do not count'),
  context: context.describe('tokens per context, BOS included [default: what the SAEs were trained with]'),
  prependBos: prependBos.describe(
    'begin every document and every context with BOS [default: as the SAEs were trained]',
  ),
  batch: positive.default(8).describe('max contexts per forward pass'),
  hook: z.string().optional().describe('hook point, for SAEs whose cfg.json names none'),
  meanAblation: z
    .boolean()
    .default(false)
    .describe('also replace activations by their mean: loss recovered with mean ablation as the worst case'),
  anyModel: z.boolean().default(false).describe('evaluate SAEs that were trained on another model of the same width'),
  textField,
  encoding,
  ...documentFlags,
  holdout: evaluationHoldout,
  excludeSpecialTokens: z
    .boolean()
    .optional()
    .describe('positions at special tokens other than BOS do not count either [default: as the SAEs were trained]'),
  allTokens: z
    .boolean()
    .default(false)
    .describe(
      'measure positions, too, that SAEs were not trained on for their norm (--max-activation-norm-multiple); else they keep their clean activation and do not count',
    ),
  device,
  precision,
  threads,
  logDir: logDir.describe(
    'directory for TensorBoard event files; with several --sae, a directory below it for each [default: none]',
  ),
  out: directory.describe('directory for eval.json'),
  overwrite,
  takeOver,
});
export type EvalConfig = z.infer<typeof evalSchema>;

/** How prompts are continued, said once. */
const continuation = {
  prompt: z.array(z.string()).min(1).describe('text to continue; may be repeated, texts are then continued together'),
  tokens: positive.default(64).describe('tokens after each prompt, at most'),
  temperature: z
    .number()
    .nonnegative()
    .default(0)
    .describe('logits are divided by it before a token is drawn; 0: the most probable token is taken'),
  topK: positive.optional().describe('draw among the k most probable tokens only [default: all]'),
  topP: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe('draw among the fewest most probable tokens whose probabilities add up to p [default: all]'),
  seed,
  stop: z
    .array(z.string().min(1))
    .optional()
    .describe('text that ends a continuation, and is left out of it; may be repeated'),
  chat: z
    .boolean()
    .default(false)
    .describe("take each prompt as a user's message to a model for chats, by its own template; the answer is printed"),
  prependBos: prependBos.describe('begin prompts with BOS [default: as models of the family expect; Gemma: yes]'),
};

/** `generate`: prompts → continuations. */
export const generateSchema = z.object({
  ...modelSource,
  ...continuation,
  device,
  precision,
  threads,
  json: z
    .boolean()
    .default(false)
    .describe('print JSON when all texts have ended: token numbers, text, and why it ended'),
});
export type GenerateConfig = z.infer<typeof generateSchema>;

const strengths = z.array(z.number()).min(1).optional();

/** `steer`: prompts → continuations with features changed, next to those without. */
export const steerSchema = z.object({
  sae: z.array(directory).min(1).describe(`${SAE}; may be repeated`),
  ...modelSource,
  feature: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .meta({ commas: true })
    .describe('features to change: 17 or 17,42; SAE:17 with the name of its directory where there are several SAEs'),
  set: strengths.describe('what f of the features becomes; one number for all of them, or one for each'),
  add: strengths.describe('what is added to f, whether the feature fires or not'),
  scale: strengths.describe('what f is multiplied by'),
  ablate: z.boolean().default(false).describe('set f to 0: the feature does not fire'),
  changes: directory
    .optional()
    .describe(
      'JSON file with changes of several kinds: [{"sae": "gated", "feature": 17, "set": 8}, {"feature": 3, "ablate": true}]',
    ),
  positions: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .meta({ commas: true })
    .describe('change features at these tokens only, counted from 0, BOS included: 3,5-9'),
  from: natural.optional().describe('change features from this token on [default: all but a BOS at the beginning]'),
  errorTerm: z
    .boolean()
    .default(true)
    .describe(
      'keep what the SAE does not reconstruct, x − x̂; --no-error-term: the changed reconstruction stands for x',
    ),
  ...continuation,
  prependBos: prependBos.describe('begin prompts with BOS [default: as the SAEs were trained]'),
  logits: z.boolean().default(false).describe('also show what may follow the prompt, before and after'),
  dose: z
    .array(z.number())
    .min(1)
    .optional()
    .describe('a row for each of these strengths, in place of that of --set, --add or --scale [default: --set]'),
  corpus: corpus.optional().describe(`also the loss on this text without the change and with it: ${CORPUS}`),
  textTokens: positive.default(4096).describe('positions of --corpus whose loss is taken'),
  context: context.describe('tokens per context of --corpus [default: what the SAEs were trained with]'),
  textField,
  encoding,
  hook: z.string().optional().describe('hook point, for SAEs whose cfg.json names none'),
  anyModel: z.boolean().default(false).describe('take SAEs that were trained on another model of the same width'),
  device,
  precision,
  threads,
  json: z.boolean().default(false).describe('print JSON: both texts of every prompt, changes, next tokens and losses'),
});
export type SteerConfig = z.infer<typeof steerSchema>;

/** `attribute`: which features made a logit. */
export const attributeSchema = z.object({
  sae: z.array(directory).min(1).describe('SAE or transcoder directory; may be repeated'),
  ...modelSource,
  prompt: z.string().min(1).describe('text whose next token is looked at'),
  token: z
    .string()
    .min(1)
    .optional()
    .describe('token whose logit is attributed, with the space that belongs to it [default: the most probable one]'),
  minus: z.string().min(1).optional().describe('token whose logit is subtracted: why the one rather than the other'),
  position: natural
    .optional()
    .describe('token of the prompt after which the logit is, counted from 0, BOS included [default: the last]'),
  candidates: positive.default(256).describe('activations that are ablated, those that write most'),
  top: positive.default(20).describe('activations that are shown, those with the largest effects'),
  prependBos: prependBos.describe('begin the prompt with BOS [default: as the SAEs were trained]'),
  hook: z.string().optional().describe('hook point, for SAEs whose cfg.json names none'),
  anyModel: z.boolean().default(false).describe('take SAEs that were trained on another model of the same width'),
  device,
  precision,
  threads,
  json: z.boolean().default(false).describe('print JSON instead of a table'),
});
export type AttributeConfig = z.infer<typeof attributeSchema>;

/** `features`: what every feature of SAEs responds to in a text, and what it writes → a folder for `explore`. */
export const featuresSchema = z.object({
  sae: z.array(directory).min(1).describe(`${SAE}; may be repeated, one pass over the text serves all`),
  ...modelSource,
  corpus,
  tokens: positive
    .max(2 ** 32 - 1)
    .default(2_000_000)
    .describe('positions to collect from, exactly; BOS positions do not count'),
  context: context.describe('tokens per context, BOS included [default: what the SAEs were trained with]'),
  prependBos: prependBos.describe(
    'begin every document and every context with BOS [default: as the SAEs were trained]',
  ),
  batch: positive.default(8).describe('max contexts per forward pass'),
  hook: z.string().optional().describe('hook point, for SAEs whose cfg.json names none'),
  anyModel: z.boolean().default(false).describe('take SAEs that were trained on another model of the same width'),
  topK: positive.max(1000).default(20).describe('examples of the largest activations per feature, one per context'),
  window: z
    .array(natural.max(1000))
    .refine(({ length }) => length === 2, 'two numbers belong there, such as 12,8')
    .default([12, 8])
    .describe('tokens of an example before and after its peak'),
  textField,
  encoding,
  ...documentFlags,
  holdout: evaluationHoldout,
  excludeSpecialTokens: z
    .boolean()
    .optional()
    .describe('positions at special tokens other than BOS do not count either [default: as the SAEs were trained]'),
  device,
  precision,
  threads,
  out: directory.describe(
    'folder of Parquet files and features.json, for `sae-pipe explore`, pandas, polars or DuckDB',
  ),
  overwrite,
  resume: z.boolean().default(false).describe('continue an unfinished folder in --out'),
  takeOver,
});
export type FeaturesConfig = z.infer<typeof featuresSchema>;

/** `export`: an SAE in another architecture's parameters, computing the same. */
export const exportSchema = z.object({
  sae: directory.describe(
    'SAE as for eval, gated or standard; for circuit-tracer a directory with one transcoder per layer below it',
  ),
  as: z
    .enum([...exportFormats, 'circuit-tracer'])
    .describe(
      'architecture to write; jumprelu: the JumpReLU view of the paper, appendix E; circuit-tracer: a set of transcoders as that program loads them',
    ),
  out: directory.describe(
    'directory for cfg.json and sae_weights.safetensors, or for config.yaml and layer_N.safetensors of circuit-tracer',
  ),
  overwrite,
  takeOver,
});

/** `ls`: the SAEs that a place holds. */
export const lsSchema = z.object({
  where: directory.describe(
    'directory, OWNER/REPO[@REVISION][/PATH] of the Hugging Face hub, or a release of SAELens’s list',
  ),
  offline: modelSource.offline,
  json: z
    .boolean()
    .default(false)
    .describe('print JSON: a list of objects with sae, layout, architecture, d_in, d_sae, hook and l0'),
});

/** `convert`: an SAE in another layout, or in another architecture's parameters, computing the same. */
export const convertSchema = z.object({
  sae: directory.describe(SAE),
  as: z
    .enum([...writtenLayouts, ...exportFormats, 'circuit-tracer'])
    .describe(
      'layout to write: that of SAELens, Gemma Scope, dictionary_learning or sparsify; or an architecture in SAELens’s layout, or circuit-tracer, as export has them',
    ),
  offline: modelSource.offline,
  out: directory.describe('directory for the files of that layout'),
  overwrite,
  takeOver,
});

/** `report`: eval.json → one HTML file. */
const reportSchema = z.object({
  evaluation: directory.describe('directory that eval wrote'),
  out: directory.describe('the file to write: .html (the page) or .csv (its tables, one row per SAE)'),
  title: z.string().optional().describe('title of the page'),
  reference: z
    .enum(references)
    .optional()
    .describe(
      "published points to show beside the report's own; paper-gemma-7b: Rajamanoharan et al. 2024, tables 1 to 4",
    ),
  overwrite,
});
export type ReportConfig = z.infer<typeof reportSchema>;

/** `watch`: metrics.jsonl of runs → a live page. */
const watchSchema = z.object({
  directory: directory.describe('the --out of a run, finished or not, or a directory with several below it (a sweep)'),
  port: natural.max(65_535).default(6464).describe('port of the page on 127.0.0.1; 0: any that is free'),
});
export type WatchConfig = z.infer<typeof watchSchema>;

/** `explore`: a folder of features → pages to look at them, live or as files. */
export const exploreSchema = z.object({
  folder: directory.describe('folder of features: the --out of `sae-pipe features`'),
  sae: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('SAEs to show, by the names of their directories in the folder; may be repeated [default: all]'),
  model: modelSource.model.optional().describe(`to try texts on the SAEs: ${MODEL}`),
  revision: modelSource.revision,
  offline: modelSource.offline,
  port: natural.max(65_535).default(6465).describe('port of the pages on 127.0.0.1; 0: any that is free'),
  static: directory
    .optional()
    .describe(
      'instead of serving the pages, write them into this directory, for any plain web server or a hub repository',
    ),
  html: directory.optional().describe('instead of serving the pages, write one self-contained page of --features'),
  features: z.array(natural).min(1).optional().describe('features of the self-contained page: 1,17,42'),
  device,
  precision,
  threads,
  overwrite: overwrite.describe('replace what --static or --html wrote before'),
  takeOver,
});
export type ExploreConfig = z.infer<typeof exploreSchema>;

/** `labels`: labels of features, printed or read in. */
export const labelsSchema = z.object({
  folder: directory.describe('folder of features: the --out of `sae-pipe features`'),
  import: directory
    .optional()
    .describe(
      'explanations that Neuronpedia exported, .json or .jsonl, gzipped or not, or a directory of such files: their descriptions become labels [default: labels are printed]',
    ),
  sae: z.string().min(1).optional().describe('SAE by the name of its directory in the folder, where there are several'),
  source: z
    .string()
    .min(1)
    .optional()
    .describe('source of the explanations, where a file has several: 12-gemmascope-res-16k'),
  overwrite: overwrite.describe('replace labels that are there'),
  takeOver,
});
export type LabelsConfig = z.infer<typeof labelsSchema>;

/** `export-features`: a folder of features in the formats of other tools. */
export const exportFeaturesSchema = z.object({
  folder: directory.describe('folder of features: the --out of `sae-pipe features`'),
  sae: z.string().min(1).optional().describe('SAE by the name of its directory in the folder, where there are several'),
  as: z
    .enum(['neuronpedia', 'sae-dashboard'])
    .describe(
      'neuronpedia: the .jsonl.gz of its exports, labels as explanations; sae-dashboard: its batch-N.json. Features that never fire are left out, as there',
    ),
  set: z.string().min(1).optional().describe('name of the set there [default: the name of the SAE]'),
  out: directory.describe('directory to write into'),
  overwrite,
  takeOver,
});
export type ExportFeaturesConfig = z.infer<typeof exportFeaturesSchema>;

/** `figure`: a picture of its own, one file. */
export const figureSchema = z.object({
  name: z
    .enum(figureNames)
    .describe(
      "jump-relu: the toy model of the paper's appendix F, or with --sae the same picture of a trained feature; paper-gemma-7b: the paper's loss recovered against L0 on Gemma 7B, from its published numbers; pareto and shrinkage: loss recovered, and relative reconstruction bias, against L0 in an evaluation",
    ),
  evaluation: directory.optional().describe('directory that eval wrote (pareto, shrinkage)'),
  sae: directory.optional().describe('SAE of the feature, as for eval (jump-relu)'),
  feature: natural.optional().describe('number of the feature, from 0 (jump-relu)'),
  activations: directory.optional().describe('activation store of the SAE’s hook (jump-relu)'),
  tokens: positive.default(200_000).describe('activations to look at, at most (jump-relu)'),
  seed,
  out: directory.describe(
    'the file to write: .svg, .pdf or .png (light, for papers and slides), or .html (with its caption and numbers)',
  ),
  overwrite,
});
export type FigureConfig = z.infer<typeof figureSchema>;

/** `hooks`: the hook points of a model and their widths, from its config.json alone. */
const hooksSchema = z.object({
  ...modelSource,
  hook: hookList.optional().describe('only these hook points; names, patterns such as blocks.*.hook_z, or a list'),
  json: z.boolean().default(false).describe('print JSON: a list of objects with name, layer, site and width'),
});

/** `inspect`: what the activations of a store look like. */
export const inspectSchema = z.object({
  store: directory.describe('activation store: OUT/<hook> of harvest, or OUT where it holds one store'),
  model: modelSource.model.optional().describe(`to show tokens in their text: ${MODEL}`),
  revision: modelSource.revision,
  offline: modelSource.offline,
  k: positive.default(32).describe('features per token of the TopK SAE whose dead features are worked out'),
  dSae: positive.optional().describe('features of that SAE [default: 8 × d_in]'),
  json: z.boolean().default(false).describe('print JSON instead of a table'),
  out: directory.optional().describe('draw it, too: the file to write, .html (figure and tables) or .svg'),
  overwrite,
  threads,
});
export type InspectConfig = z.infer<typeof inspectSchema>;

/** `doctor`: what this machine has, and whether a piece of work fits it. */
export const doctorSchema = z.object({
  model: modelSource.model.optional(),
  revision: modelSource.revision,
  offline: modelSource.offline,
  hook: hookList
    .optional()
    .describe(
      'hook points to harvest: names, patterns or lists; may be repeated [default: hook_resid_post of the last block]',
    ),
  tokens: positive.optional().describe('activations to harvest: room on disk and time are worked out for them'),
  dSae: positive.optional().describe('features of an SAE to train at the (first) hook: memory is worked out for it'),
  arch: architecture.describe('architecture of that SAE'),
  l0: targetL0.optional().describe('L0 to train that SAE to'),
  ...(architectureFlags as object),
  context,
  batch: positive.default(16).describe('max contexts per forward pass'),
  dtype: z
    .enum(['auto', ...activationDTypes])
    .default('auto')
    .describe('element type of activations on disk; auto: that of the checkpoint'),
  device,
  precision,
  threads,
  out: directory.default('.').describe('directory whose disk is checked'),
  json: z.boolean().default(false).describe('print JSON instead of a table; sizes in bytes, times in seconds'),
});
export type DoctorConfig = z.infer<typeof doctorSchema>;

/** `demo`: all of it on the bundled model and text. */
export const demoSchema = z.object({
  out: directory.default('runs/demo').describe('directory for everything the demo writes'),
  quick: z.boolean().default(false).describe('a tenth of the tokens: about 30 s; SAEs will be undertrained'),
  overwrite,
  takeOver,
});
export type DemoConfig = z.infer<typeof demoSchema>;

/** The stages, each with the schema of its section in a configuration file. */
export const STAGES = {
  harvest: harvestSchema,
  train: trainSchema,
  sweep: sweepSchema,
  eval: evalSchema,
  generate: generateSchema,
  steer: steerSchema,
  attribute: attributeSchema,
  features: featuresSchema,
  export: exportSchema,
  convert: convertSchema,
  ls: lsSchema,
  report: reportSchema,
  watch: watchSchema,
  explore: exploreSchema,
  labels: labelsSchema,
  'export-features': exportFeaturesSchema,
  figure: figureSchema,
  hooks: hooksSchema,
  inspect: inspectSchema,
  doctor: doctorSchema,
  demo: demoSchema,
} as const;
export type StageName = keyof typeof STAGES;

import { z } from 'zod';
import { activationDTypes, exportFormats, figures, references, trainableArchitectures } from './choices.js';
import {
  context,
  corpus,
  device,
  directory,
  encoding,
  excludeSpecialTokens,
  hookList,
  modelSource,
  natural,
  overwrite,
  positive,
  precision,
  seed,
  takeOver,
  textField,
  threads,
} from './fields.js';
import { type TrainConfig, trainSchema } from './train-schema.js';

export * from './choices.js';
export type { ModelSource } from './fields.js';
export { type TrainConfig, trainSchema };

/** `harvest`: corpus → language model → activation stores, one a hook. */
export const harvestSchema = z.object({
  ...modelSource,
  corpus,
  hook: hookList.describe(
    'hook points: a name (blocks.2.hook_resid_post), a pattern (blocks.*.hook_z) or a list of them with commas; may be repeated. All of them take one forward pass; see `sae-pipe hooks`',
  ),
  tokens: positive.describe('activations (rows) in each store, exactly; BOS positions are not activations'),
  context,
  out: directory.describe(
    'directory for the stores, OUT/<hook>/; - writes the rows of one hook to standard output, for `train --activations -`',
  ),
  batch: positive.default(16).describe('max contexts per forward pass'),
  dtype: z.enum(activationDTypes).default('float16').describe('element type on disk'),
  rowsPerShard: positive.default(65_536).describe('max rows per shard file'),
  windowRows: positive
    .default(1_048_576)
    .describe(
      'rows permuted together before they are cut into shards, about; held in memory, 4 GiB at most over all hooks',
    ),
  textField,
  encoding,
  excludeSpecialTokens,
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
  arch: z.array(z.enum(trainableArchitectures)).min(1).optional().describe('architecture; may be repeated'),
  dSae: z.array(positive).min(1).optional().describe('number of features; may be repeated'),
  l1: z.array(z.number().nonnegative()).min(1).optional().describe('λ; may be repeated'),
  seed: z.array(seed).min(1).optional().describe('seed of initialisation and order; may be repeated'),
  /** In the file only: lists of their own for groups of runs, e.g. a wider dictionary for the baseline. */
  runs: z
    .array(z.record(z.string(), z.unknown()))
    .optional()
    .describe('groups of runs: hook, and any flags of train, each a value or a list of values'),
  activations: directory
    .optional()
    .describe('directory with one store per hook (harvest output) [default: OUT/activations, harvested first]'),
  strict: z
    .boolean()
    .default(false)
    .describe('exit 1 when an SAE is useless (L0 below 1, explained variance below 0, …); it is written all the same'),
  takeOver,
});
export type SweepConfig = z.infer<typeof sweepSchema>;

/** `eval`: SAEs spliced into the model on held-out text → eval.json. */
export const evalSchema = z.object({
  sae: z.array(directory).min(1).describe('SAE directory; may be repeated'),
  ...modelSource,
  corpus,
  tokens: positive.default(1_000_000).describe('positions to evaluate on, exactly; BOS positions do not count'),
  context: context.describe('tokens per context, BOS included [default: what the SAEs were trained with]'),
  batch: positive.default(8).describe('max contexts per forward pass'),
  hook: z.string().optional().describe('hook point, for SAEs whose cfg.json names none'),
  meanAblation: z
    .boolean()
    .default(false)
    .describe('also replace activations by their mean: loss recovered with mean ablation as the worst case'),
  anyModel: z.boolean().default(false).describe('evaluate SAEs that were trained on another model of the same width'),
  textField,
  encoding,
  excludeSpecialTokens: z
    .boolean()
    .optional()
    .describe('positions at special tokens other than BOS do not count either [default: as the SAEs were trained]'),
  device,
  precision,
  threads,
  out: directory.describe('directory for eval.json'),
  overwrite,
  takeOver,
});
export type EvalConfig = z.infer<typeof evalSchema>;

/** `export`: an SAE in another architecture's parameters, computing the same. */
export const exportSchema = z.object({
  sae: directory.describe('SAE directory, gated or standard'),
  as: z.enum(exportFormats).describe('architecture to write; jumprelu: the JumpReLU view of the paper, appendix E'),
  out: directory.describe('directory for cfg.json and sae_weights.safetensors'),
  overwrite,
  takeOver,
});
export type ExportConfig = z.infer<typeof exportSchema>;

/** `report`: eval.json → one HTML file. */
export const reportSchema = z.object({
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
export const watchSchema = z.object({
  directory: directory.describe('the --out of a run, finished or not, or a directory with several below it (a sweep)'),
  port: natural.max(65_535).default(6464).describe('port of the page on 127.0.0.1; 0: any that is free'),
});
export type WatchConfig = z.infer<typeof watchSchema>;

/** `figure`: a picture of its own, one file. */
export const figureSchema = z.object({
  name: z
    .enum(figures)
    .describe(
      "jump-relu: the toy model of the paper's appendix F, or with --sae the same picture of a trained feature; paper-gemma-7b: the paper's loss recovered against L0 on Gemma 7B, from its published numbers; pareto and shrinkage: loss recovered, and relative reconstruction bias, against L0 in an evaluation",
    ),
  evaluation: directory.optional().describe('directory that eval wrote (pareto, shrinkage)'),
  sae: directory.optional().describe('SAE directory of the feature, gated or standard (jump-relu)'),
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
export const hooksSchema = z.object({
  ...modelSource,
  hook: hookList.optional().describe('only these hook points; names, patterns such as blocks.*.hook_z, or a list'),
  json: z.boolean().default(false).describe('print JSON: a list of objects with name, layer, site and width'),
});
export type HooksConfig = z.infer<typeof hooksSchema>;

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
  arch: z.enum(trainableArchitectures).default('gated').describe('architecture of that SAE'),
  context,
  batch: positive.default(16).describe('max contexts per forward pass'),
  dtype: z.enum(activationDTypes).default('float16').describe('element type of activations on disk'),
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
  export: exportSchema,
  report: reportSchema,
  watch: watchSchema,
  figure: figureSchema,
  hooks: hooksSchema,
  doctor: doctorSchema,
  demo: demoSchema,
} as const;
export type StageName = keyof typeof STAGES;

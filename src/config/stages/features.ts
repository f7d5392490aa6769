import { z } from 'zod';
import { evaluationRoles } from './chat-flags.js';
import {
  context,
  corpus,
  device,
  directory,
  documentFlags,
  evaluationHoldout,
  MODEL,
  modelSource,
  natural,
  overwrite,
  positive,
  precision,
  prependBos,
  readingFlags,
  SAE_REFERENCE,
  takeOver,
  threads,
} from './shared-flags.js';

/**
 * `features`: what every feature of an SAE responds to in a text, and which logits it raises → a folder for `explore`.
 */
export const featuresSchema = z.object({
  sae: z.array(directory).min(1).describe(`${SAE_REFERENCE}; may be repeated: all share one pass over the text`),
  ...modelSource,
  corpus,
  tokens: positive
    .max(2 ** 32 - 1)
    .default(2_000_000)
    .describe('number of positions to collect from; BOS positions do not count'),
  context: context.describe('tokens per context, BOS included [default: as the SAEs were trained]'),
  prependBos: prependBos.describe(
    'begin every document and every context with BOS [default: as the SAEs were trained]',
  ),
  batch: positive.default(8).describe('max contexts per forward pass'),
  hook: z.string().optional().describe('hook point, for SAEs whose cfg.json names none'),
  anyModel: z.boolean().default(false).describe('accept SAEs that were trained on another model of the same width'),
  topK: positive.max(1000).default(20).describe('strongest examples to keep per feature, at most one per context'),
  window: z
    .array(natural.max(1000))
    .refine(({ length }) => length === 2, 'give two numbers, such as 12,8')
    .default([12, 8])
    .describe('tokens of an example before and after its peak'),
  ...readingFlags,
  roles: evaluationRoles,
  ...documentFlags,
  holdout: evaluationHoldout,
  excludeSpecialTokens: z
    .boolean()
    .optional()
    .meta({ also: 'skip-special' })
    .describe('leave out positions at special tokens other than BOS, too [default: as the SAEs were trained]'),
  allTokens: z
    .boolean()
    .default(false)
    .describe(
      'also collect from positions that an SAE was not trained on because of their norm (--max-activation-norm-multiple), their role (--roles), or as special tokens; by default these do not count',
    ),
  device,
  precision,
  threads,
  out: directory.describe(
    'folder for Parquet files and features.json, read by `sae-pipe explore`, pandas, polars or DuckDB',
  ),
  overwrite,
  resume: z.boolean().default(false).describe('continue an unfinished folder in --out'),
  takeOver,
});
export type FeaturesConfig = z.infer<typeof featuresSchema>;

/** `explore`: a folder of features → pages that show them, live or as files. */
export const exploreSchema = z.object({
  folder: directory.describe('folder of features: the --out of `sae-pipe features`'),
  sae: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('SAEs to show, by the names of their directories in the folder; may be repeated [default: all]'),
  model: modelSource.model.optional().describe(`for trying and steering texts: ${MODEL}`),
  revision: modelSource.revision,
  offline: modelSource.offline,
  port: natural.max(65_535).default(6465).describe('port of the pages on 127.0.0.1; 0: any free port'),
  static: directory
    .optional()
    .describe('instead of serving the pages, write them into this directory, for any web server or hub repository'),
  html: directory.optional().describe('instead of serving the pages, write one self-contained page of --features'),
  features: z.array(natural).min(1).optional().describe('features on the self-contained page: 1,17,42'),
  device,
  precision,
  threads,
  overwrite: overwrite.describe('replace what --static or --html wrote before'),
  takeOver,
});
export type ExploreConfig = z.infer<typeof exploreSchema>;

/** `labels`: labels of features, printed or imported. */
export const labelsSchema = z.object({
  folder: directory.describe('folder of features: the --out of `sae-pipe features`'),
  import: directory
    .optional()
    .describe(
      'explanations that Neuronpedia exported, .json or .jsonl, gzipped or not, or a directory of such files; their descriptions become labels [default: print the labels]',
    ),
  sae: z
    .string()
    .min(1)
    .optional()
    .describe('with several SAEs: one of them, by the name of its directory in the folder'),
  source: z
    .string()
    .min(1)
    .optional()
    .describe('source of the explanations, if a file has several: 12-gemmascope-res-16k'),
  overwrite: overwrite.describe('replace existing labels'),
  takeOver,
});
export type LabelsConfig = z.infer<typeof labelsSchema>;

/** `export-features`: a folder of features in the formats of other tools. */
export const exportFeaturesSchema = z.object({
  folder: directory.describe('folder of features: the --out of `sae-pipe features`'),
  sae: z
    .string()
    .min(1)
    .optional()
    .describe('with several SAEs: one of them, by the name of its directory in the folder'),
  as: z
    .enum(['neuronpedia', 'sae-dashboard'])
    .describe(
      'neuronpedia: the .jsonl.gz files of its exports, with labels as explanations; sae-dashboard: its batch-N.json. Features that never fire are left out',
    ),
  set: z.string().min(1).optional().describe('name of the set in that format [default: the name of the SAE]'),
  out: directory.describe('directory to write into'),
  overwrite,
  takeOver,
});
export type ExportFeaturesConfig = z.infer<typeof exportFeaturesSchema>;

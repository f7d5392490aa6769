import { z } from 'zod';
import { figureNames, references } from '../values.js';
import { directory, natural, overwrite, positive, seed } from './shared-flags.js';

/** `report`: eval.json → one HTML file. */
export const reportSchema = z.object({
  evaluation: directory.describe('directory that eval wrote'),
  out: directory.describe('the file to write: .html (the page) or .csv (its tables, one row per SAE)'),
  title: z.string().optional().describe('title of the page'),
  reference: z
    .enum(references)
    .optional()
    .describe(
      "published points to show next to the report's own; paper-gemma-7b: Rajamanoharan et al. 2024, tables 1 to 4",
    ),
  overwrite,
});
export type ReportConfig = z.infer<typeof reportSchema>;

/** `watch`: metrics.jsonl of runs → a live page. */
export const watchSchema = z.object({
  directory: directory.describe('the --out of a run, finished or not, or a directory with several below it (a sweep)'),
  port: natural.max(65_535).default(6464).describe('port of the page on 127.0.0.1; 0: any free port'),
});
export type WatchConfig = z.infer<typeof watchSchema>;

/** `figure`: one picture in a file. */
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
  tokens: positive.default(200_000).describe('maximum number of activations to read (jump-relu)'),
  seed,
  out: directory.describe(
    'the file to write: .svg, .pdf or .png (light, for papers and slides), or .html (with its caption and numbers)',
  ),
  overwrite,
});
export type FigureConfig = z.infer<typeof figureSchema>;

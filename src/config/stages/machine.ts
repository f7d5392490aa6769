import { z } from 'zod';
import { architectureFlags } from '../../sae/registry.js';
import { activationDTypes } from '../values.js';
import {
  architecture,
  context,
  device,
  directory,
  hookList,
  MODEL,
  modelSource,
  overwrite,
  positive,
  precision,
  takeOver,
  targetL0,
  threads,
} from './shared-flags.js';

/** `hooks`: the hook points of a model and their widths, from its config.json alone. */
export const hooksSchema = z.object({
  ...modelSource,
  hook: hookList.optional().describe('only these hook points; names, patterns such as blocks.*.hook_z, or a list'),
  json: z.boolean().default(false).describe('print JSON: a list of objects with name, layer, site and width'),
});

/** `inspect`: what the activations of a store look like. */
export const inspectSchema = z.object({
  store: directory.describe(
    'activation store: OUT/<hook> of harvest, or OUT if it holds one store; all parts of one as for train --activations',
  ),
  model: modelSource.model.optional().describe(`for showing tokens in their text: ${MODEL}`),
  revision: modelSource.revision,
  offline: modelSource.offline,
  k: positive.default(32).describe('k of the TopK SAE whose dead features are estimated'),
  dSae: positive.optional().describe('number of features of that SAE [default: 8 × d_in]'),
  json: z.boolean().default(false).describe('print JSON instead of a table'),
  out: directory.optional().describe('also write a figure to this file: .html (with tables) or .svg'),
  overwrite,
  threads,
});
export type InspectConfig = z.infer<typeof inspectSchema>;

/** `doctor`: what this machine has, and whether a planned harvest or training run fits it. */
export const doctorSchema = z.object({
  model: modelSource.model.optional(),
  revision: modelSource.revision,
  offline: modelSource.offline,
  hook: hookList
    .optional()
    .describe(
      'hook points to harvest: names, patterns or lists; may be repeated [default: hook_resid_post of the last block]',
    ),
  tokens: positive.optional().describe('number of activations to harvest, to estimate disk space and time'),
  dSae: positive.optional().describe('number of features of the SAE to train at the first hook, to estimate memory'),
  arch: architecture.describe('architecture of that SAE'),
  l0: targetL0.optional().describe('target L0 of that SAE'),
  ...(architectureFlags as object),
  context,
  batch: positive.default(16).describe('max contexts per forward pass'),
  dtype: z
    .enum(['auto', ...activationDTypes])
    .default('auto')
    .describe("element type of activations on disk; auto: the checkpoint's"),
  device,
  precision,
  threads,
  out: directory.default('.').describe('directory whose disk is checked'),
  json: z.boolean().default(false).describe('print JSON instead of a table; sizes in bytes, times in seconds'),
});
export type DoctorConfig = z.infer<typeof doctorSchema>;

/** `demo`: the whole pipeline on the bundled model and text. */
export const demoSchema = z.object({
  out: directory.default('runs/demo').describe('directory for everything the demo writes'),
  quick: z.boolean().default(false).describe('a tenth of the tokens: about 30 s; SAEs will be undertrained'),
  overwrite,
  takeOver,
});
export type DemoConfig = z.infer<typeof demoSchema>;

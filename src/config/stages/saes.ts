import { z } from 'zod';
import { exportFormats } from '../../sae/convert.js';
import { writtenLayouts } from '../../sae/published/written-layouts.js';
import { directory, modelSource, overwrite, SAE_REFERENCE, takeOver } from './shared-flags.js';

/** `export`: an SAE rewritten with another architecture's parameters, computing the same function. */
export const exportSchema = z.object({
  sae: directory.describe(
    'SAE as for eval, gated or standard; for circuit-tracer a directory with one transcoder per layer below it',
  ),
  as: z
    .enum([...exportFormats, 'circuit-tracer'])
    .describe(
      "architecture to write; jumprelu: the paper's JumpReLU view, appendix E; circuit-tracer: a set of transcoders as that program loads them",
    ),
  out: directory.describe(
    'directory for cfg.json and sae_weights.safetensors, or for config.yaml and layer_N.safetensors of circuit-tracer',
  ),
  overwrite,
  takeOver,
});

/** `ls`: the SAEs in a directory, repository or release. */
export const lsSchema = z.object({
  where: directory.describe(
    "directory, OWNER/REPO[@REVISION][/PATH] on the Hugging Face hub, or a release in SAELens's list",
  ),
  offline: modelSource.offline,
  json: z
    .boolean()
    .default(false)
    .describe('print JSON: a list of objects with sae, layout, architecture, d_in, d_sae, hook and l0'),
});

/** `convert`: an SAE in another file layout, or with another architecture's parameters, computing the same function. */
export const convertSchema = z.object({
  sae: directory.describe(SAE_REFERENCE),
  as: z
    .enum([...writtenLayouts, ...exportFormats, 'circuit-tracer'])
    .describe(
      "layout to write: SAELens's, Gemma Scope's, dictionary_learning's or sparsify's; or an architecture in SAELens's layout, or circuit-tracer, as for export",
    ),
  offline: modelSource.offline,
  out: directory.describe('directory for the files of that layout'),
  overwrite,
  takeOver,
});

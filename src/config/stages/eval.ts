import { z } from 'zod';
import { evaluationRoles } from './chat-flags.js';
import {
  context,
  corpus,
  device,
  directory,
  documentFlags,
  evaluationHoldout,
  logDir,
  modelSource,
  overwrite,
  positive,
  precision,
  prependBos,
  readingFlags,
  SAE_REFERENCE,
  takeOver,
  threads,
} from './shared-flags.js';

/** `eval`: SAEs spliced into the model on held-out text → eval.json. */
export const evalSchema = z.object({
  sae: z.array(directory).min(1).describe(`${SAE_REFERENCE}; may be repeated`),
  ...modelSource,
  corpus,
  tokens: positive.default(1_000_000).describe('number of positions to evaluate on; BOS positions do not count'),
  context: context.describe('tokens per context, BOS included [default: as the SAEs were trained]'),
  prependBos: prependBos.describe(
    'begin every document and every context with BOS [default: as the SAEs were trained]',
  ),
  batch: positive.default(8).describe('max contexts per forward pass'),
  hook: z.string().optional().describe('hook point, for SAEs whose cfg.json names none'),
  meanAblation: z
    .boolean()
    .default(false)
    .describe('also replace activations by their mean: loss recovered with mean ablation as the worst case'),
  ablateFeatures: directory
    .optional()
    .describe(
      'file of features, one per line or as a JSON list: also measure the loss with their activations set to 0 and everything else kept, that is, their importance. With several SAEs: SAE:17, by the name of its directory',
    ),
  setFeatures: directory
    .optional()
    .describe(
      'file of features and values, "17 8" on each line or as for steer --changes: also measure the loss with these set',
    ),
  anyModel: z.boolean().default(false).describe('evaluate SAEs that were trained on another model of the same width'),
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
      'also measure positions that SAEs were not trained on because of their norm (--max-activation-norm-multiple), their role (--roles), or as special tokens; by default these keep their clean activation and do not count',
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

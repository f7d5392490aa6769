import { z } from 'zod';
import {
  CORPUS,
  context,
  corpus,
  device,
  directory,
  modelSource,
  natural,
  overwrite,
  positive,
  precision,
  prependBos,
  readingFlags,
  SAE_REFERENCE,
  seed,
  threads,
} from './shared-flags.js';

/** Flags for continuing prompts, shared by generate and steer. */
const continuation = {
  prompt: z.array(z.string()).min(1).describe('text to continue; may be repeated; prompts are then batched'),
  tokens: positive.default(64).describe('maximum number of new tokens per prompt'),
  temperature: z
    .number()
    .nonnegative()
    .default(0)
    .describe('sampling temperature, by which logits are divided; 0: always take the most probable token'),
  topK: positive.optional().describe('sample from the k most probable tokens only [default: all]'),
  topP: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe('sample from the smallest set of most probable tokens whose probabilities add up to p [default: all]'),
  seed,
  stop: z.array(z.string().min(1)).optional().describe('stop string, not included in the output; may be repeated'),
  chat: z
    .boolean()
    .default(false)
    .describe("treat each prompt as a user's message, rendered by the model's chat template; print the answer"),
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
    .describe('print JSON once all continuations are complete: token ids, text and stop reason'),
});
export type GenerateConfig = z.infer<typeof generateSchema>;

const strengths = z.array(z.number()).min(1).optional();

/** `steer`: prompts → continuations with features changed, next to the unchanged ones. */
export const steerSchema = z.object({
  sae: z.array(directory).min(1).describe(`${SAE_REFERENCE}; may be repeated`),
  ...modelSource,
  feature: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .meta({ commas: true })
    .describe('features to change: 17 or 17,42; with several SAEs, SAE:17 by the name of its directory'),
  set: strengths.describe('set the activation f to this; one number for all features, or one for each'),
  add: strengths.describe('add this to f, whether the feature fires or not'),
  scale: strengths.describe('multiply f by this'),
  ablate: z.boolean().default(false).describe('set f to 0, as if the feature did not fire'),
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
  from: natural.optional().describe('change features from this token on [default: at all but a leading BOS]'),
  errorTerm: z
    .boolean()
    .default(true)
    .describe(
      'keep what the SAE does not reconstruct, x − x̂; --no-error-term replaces x by the changed reconstruction',
    ),
  ...continuation,
  prependBos: prependBos.describe('begin prompts with BOS [default: as the SAEs were trained]'),
  logits: z
    .boolean()
    .default(false)
    .describe('also show the next-token predictions after the prompt, without and with the change'),
  dose: z
    .array(z.number())
    .min(1)
    .optional()
    .describe('show a row for each of these strengths of --set, --add or --scale [default: of --set]'),
  corpus: corpus.optional().describe(`also measure the loss on this text, without and with the change: ${CORPUS}`),
  textTokens: positive.default(4096).describe('positions of --corpus to measure the loss on'),
  context: context.describe('tokens per context of --corpus [default: as the SAEs were trained]'),
  ...readingFlags,
  hook: z.string().optional().describe('hook point, for SAEs whose cfg.json names none'),
  anyModel: z.boolean().default(false).describe('accept SAEs that were trained on another model of the same width'),
  device,
  precision,
  threads,
  json: z.boolean().default(false).describe('print JSON: both texts of every prompt, changes, next tokens and losses'),
});
export type SteerConfig = z.infer<typeof steerSchema>;

/** `attribute`: which features contribute to a logit. */
export const attributeSchema = z.object({
  sae: z.array(directory).min(1).describe(`${SAE_REFERENCE}; may be repeated`),
  ...modelSource,
  prompt: z.string().min(1).describe('text whose next token is examined'),
  token: z
    .string()
    .min(1)
    .optional()
    .describe('token whose logit is attributed, with its leading space if it has one [default: the most probable one]'),
  minus: z.string().min(1).optional().describe('token whose logit is subtracted: why one token rather than the other'),
  position: natural
    .optional()
    .describe('token of the prompt at which the prediction is made, counted from 0, BOS included [default: the last]'),
  method: z
    .enum(['auto', 'gradient', 'ablation', 'direct'])
    .default('auto')
    .describe(
      'how effects are measured; gradient: activation × gradient; ablation: how far the logit falls when an activation is set to 0; direct: what it adds on the path that skips all blocks above; auto: gradient, or ablation where no gradient is available',
    ),
  candidates: positive.default(256).describe('number of activations to ablate, those with the largest output'),
  top: positive.default(20).describe('number of activations to show, by size of effect'),
  prependBos: prependBos.describe('begin the prompt with BOS [default: as the SAEs were trained]'),
  hook: z.string().optional().describe('hook point, for SAEs whose cfg.json names none'),
  anyModel: z.boolean().default(false).describe('accept SAEs that were trained on another model of the same width'),
  device,
  precision,
  threads,
  json: z.boolean().default(false).describe('print JSON instead of a table'),
  page: directory.optional().describe('also write this .html file: the text, and a bar for each activation'),
  featurePages: z
    .string()
    .regex(/^(https?:|file:|(?![a-z][a-z0-9+.-]*:))/i, 'expected an address of pages: http://… or a file')
    .optional()
    .describe('address of pages that explore serves or wrote, for links from features in --page'),
  overwrite: overwrite.describe('replace the file of --page'),
});
export type AttributeConfig = z.infer<typeof attributeSchema>;

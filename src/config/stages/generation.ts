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
  sae: z.array(directory).min(1).describe(`${SAE_REFERENCE}; may be repeated`),
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
  ...readingFlags,
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
  sae: z.array(directory).min(1).describe(`${SAE_REFERENCE}; may be repeated`),
  ...modelSource,
  prompt: z.string().min(1).describe('text whose next token is examined'),
  token: z
    .string()
    .min(1)
    .optional()
    .describe('token whose logit is attributed, with the space that belongs to it [default: the most probable one]'),
  minus: z.string().min(1).optional().describe('token whose logit is subtracted: why the one rather than the other'),
  position: natural
    .optional()
    .describe('token of the prompt after which the logit is, counted from 0, BOS included [default: the last]'),
  method: z
    .enum(['auto', 'gradient', 'ablation', 'direct'])
    .default('auto')
    .describe(
      'what an effect is: activation × gradient, of every activation; by how much the logit falls where one is ablated, exactly; what goes past all blocks above. auto: gradient, or ablation where the model has none here',
    ),
  candidates: positive.default(256).describe('activations that are ablated, those that write most'),
  top: positive.default(20).describe('activations that are shown, those with the largest effects'),
  prependBos: prependBos.describe('begin the prompt with BOS [default: as the SAEs were trained]'),
  hook: z.string().optional().describe('hook point, for SAEs whose cfg.json names none'),
  anyModel: z.boolean().default(false).describe('take SAEs that were trained on another model of the same width'),
  device,
  precision,
  threads,
  json: z.boolean().default(false).describe('print JSON instead of a table'),
  page: directory.optional().describe('.html file to write, too: the text, and a bar for each activation'),
  featurePages: z
    .string()
    .regex(/^(https?:|file:|(?![a-z][a-z0-9+.-]*:))/i, 'expected an address of pages: http://… or a file')
    .optional()
    .describe('address of pages that explore shows or wrote, to which features in --page are links'),
  overwrite: overwrite.describe('replace the file of --page'),
});
export type AttributeConfig = z.infer<typeof attributeSchema>;

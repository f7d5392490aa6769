import { join } from 'node:path';
import { z } from 'zod';
import { type TokenBytes, tokenBytes } from '../corpus/token-bytes.js';
import { openTokenizer, type Tokenizer } from '../corpus/tokenizer.js';
import { exists } from '../disk/input-file.js';
import { checkJson, readJsonFile } from '../disk/json.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { type ModelSource, modelDirectory } from '../hub/model-source.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import { parseModelConfig } from '../lm/families/registry.js';
import type { BosPolicy } from '../lm/family.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { chatTexts } from './chat.js';

/** A model whose texts can be continued. */
export interface TextModel {
  readonly directory: string;
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
  readonly bytes: TokenBytes;
  /** Tokens that end a text. */
  readonly ends: ReadonlySet<number>;
}

/** Opens a checkpoint, downloading it if it is on the hub. */
export async function openModel(source: ModelSource, progress: Progress, stop: StopRequest): Promise<Checkpoint> {
  return openCheckpoint(await modelDirectory(source, progress, stop, parseModelConfig));
}

/**
 * Opens everything needed to read and write a model's texts.
 *
 * @param bos whether prompts begin with BOS
 * @throws Refusal if a file is missing or damaged, or does not fit the weights
 */
export async function openTextModel(checkpoint: Checkpoint, bos: BosPolicy): Promise<TextModel> {
  const { directory, config } = checkpoint;
  const { bosTokenId, vocabulary, special } = config;
  const tokenizer = await openTokenizer(directory, { bosTokenId, vocabulary, special, bos });
  const ends = new Set([...(special.get('eos_token_id') ?? []), ...(await generationEnds(directory))]);
  return { directory, checkpoint, tokenizer, bytes: await tokenBytes(directory), ends };
}

const GENERATION_CONFIG = 'generation_config.json';
const token = z.number().int().nonnegative();
const generationSchema = z.looseObject({ eos_token_id: z.union([token, z.array(token)]).nullish() });

/** Tokens that end a text according to generation_config.json, if present; for a chat model, the end of a turn. */
async function generationEnds(directory: string): Promise<number[]> {
  const path = join(directory, GENERATION_CONFIG);
  if (!(await exists(path))) return [];
  const remedy = `Download ${GENERATION_CONFIG} again.`;
  const json = await readJsonFile(path, [`${path} does not exist.`, remedy], remedy);
  return [checkJson(generationSchema, json, path, remedy).eos_token_id ?? []].flat();
}

/**
 * The tokens of a prompt, with BOS prepended if the model's texts begin with it and the prompt does not.
 *
 * @throws Refusal if there are none, or one is outside the vocabulary
 */
export function promptTokens({ tokenizer, checkpoint }: TextModel, prompt: string): number[] {
  const document = tokenizer.begin('the prompt');
  const ids = [...document.push(prompt), ...document.end()].flatMap((part) => [...part]);
  if (tokenizer.prependBos && ids[0] !== tokenizer.bosTokenId) ids.unshift(tokenizer.bosTokenId);
  if (ids.length === 0) {
    throw new UsageRefusal('--prompt has no tokens.', 'Give it some text.', 'generate/no-tokens');
  }
  const beyond = ids.find((id) => id >= checkpoint.config.vocabulary);
  if (beyond === undefined) return ids;
  throw new Refusal(
    `The tokenizer produced token ${beyond}, but the model's vocabulary has only ${checkpoint.config.vocabulary}.`,
    'Tokenizer and weights must be of one checkpoint.',
    'corpus/token-outside-vocabulary',
  );
}

/** The texts to continue, and what is printed before each continuation: nothing for a message to a chat model. */
export interface Prompts {
  readonly tokens: readonly number[][];
  readonly shown: readonly string[];
}

/** Prompts from flags. */
export async function readPrompts(
  model: TextModel,
  { prompt, chat }: { readonly prompt: readonly string[]; readonly chat: boolean },
): Promise<Prompts> {
  const texts = chat ? await chatTexts(model.directory, prompt) : prompt;
  return { tokens: texts.map((text) => promptTokens(model, text)), shown: chat ? prompt.map(() => '') : prompt };
}

/**
 * Number of tokens of a text, prompt included, to allocate for.
 *
 * @param most max tokens after a prompt
 * @throws UsageRefusal if a prompt leaves no position for them
 */
export function roomFor(prompts: readonly (readonly number[])[], most: number, { config }: Checkpoint): number {
  const longest = Math.max(...prompts.map(({ length }) => length));
  const { maxContext } = config;
  if (longest + most <= maxContext) return longest + most;
  if (longest >= maxContext) {
    throw new UsageRefusal(
      `A prompt has ${longest} tokens, but the model has only ${maxContext} positions.`,
      `Shorten it to at most ${maxContext - 1} tokens.`,
      'generate/prompt-too-long',
    );
  }
  throw new UsageRefusal(
    `A prompt of ${longest} tokens and --tokens ${most} are more than the model's ${maxContext} positions.`,
    `Use at most --tokens ${maxContext - longest}.`,
    'generate/prompt-too-long',
  );
}

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { checkJson, readTextFile } from '../../disk/json.js';
import { readTokenizerFile } from '../tokenizer.js';

/** Max bytes of a template; those of 2026 have 20 KiB. */
const MOST_TEMPLATE = 2 ** 20;

const named = z.array(z.looseObject({ name: z.string(), template: z.string() }));
const token = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();
/** Tokens that templates refer to by these names. */
const NAMED = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'] as const;
const configSchema = z.looseObject({
  chat_template: z.union([z.string(), named]).nullish(),
  ...(Object.fromEntries(NAMED.map((name) => [name, token])) as Record<(typeof NAMED)[number], typeof token>),
});

/** How a model renders a conversation: a Jinja template, and the tokenizer settings it uses. */
export interface ChatTemplate {
  readonly source: string;
  /** Token texts by the names that templates use, such as bos_token. */
  readonly tokens: Readonly<Record<string, string>>;
}

/**
 * The template of a model: chat_template.jinja, or the one in tokenizer_config.json; of several, the one called
 * default.
 *
 * @param directory the model's
 * @returns null if it has none
 */
export async function chatTemplate(directory: string): Promise<ChatTemplate | null> {
  const config = await readTokenizerFile(directory, 'tokenizer_config.json');
  const path = join(directory, 'tokenizer_config.json');
  const { chat_template: given, ...rest } = checkJson(
    configSchema,
    config,
    path,
    'Download tokenizer_config.json again.',
  );
  const file = await readTextFile(join(directory, 'chat_template.jinja'), undefined, MOST_TEMPLATE);
  const source = file ?? (Array.isArray(given) ? given.find(({ name }) => name === 'default')?.template : given);
  if (source == null) return null;
  const tokens: Record<string, string> = {};
  for (const name of NAMED) {
    const value = rest[name];
    if (value != null) tokens[name] = typeof value === 'string' ? value : value.content;
  }
  return { source, tokens };
}

/** The tag around what a model generates, as used by transformers' return_assistant_tokens_mask. */
export const GENERATION = /\{%(-?)\s*generation\s*(-?)%\}/g;

/** Does a template mark generated text? */
export const marksGeneration = (source: string): boolean => source.search(GENERATION) >= 0;

/** Does the template handle content that is a list of parts? If so, it tests whether content is a string. */
export const takesParts = ({ source }: ChatTemplate): boolean =>
  /content['"]?\]?\s+is\s+(not\s+)?(string|iterable|sequence)/.test(source);

/** SHA-256 of a template and its tokens. */
export function templateDigest({ source, tokens }: ChatTemplate): string {
  return createHash('sha256')
    .update(JSON.stringify([source, tokens]))
    .digest('hex');
}

/**
 * Added tokens that a template writes, such as <|im_start|>: like special tokens they stand for no text, whether marked
 * as special or not. An added token of white space is text.
 *
 * @param added contents of added tokens by id
 */
export function tokensOfTemplate(
  { source }: ChatTemplate,
  added: ReadonlyMap<number, string>,
): ReadonlyMap<number, string> {
  return new Map([...added].filter(([, content]) => /^\S{3,}$/.test(content) && source.includes(content)));
}

import { join, resolve } from 'node:path';
import { z } from 'zod';
import { readTokenizerFile } from '../corpus/tokenizer.js';
import { checkJson, readTextFile } from '../disk/json.js';
import { Refusal } from '../errors/refusal.js';

/** Bytes of a template, at most; those of 2026 have 20 KiB. */
const MOST_TEMPLATE = 2 ** 20;

const named = z.array(z.looseObject({ name: z.string(), template: z.string() }));
const configSchema = z.looseObject({ chat_template: z.union([z.string(), named]).nullish() });

/**
 * Messages of a user as the texts that a model for chats is trained on: by its own template, up to where its answer
 * begins.
 *
 * @param directory of the model
 * @throws Refusal where the model has no template, or it cannot be applied
 */
export async function chatTexts(directory: string, messages: readonly string[]): Promise<string[]> {
  const template = await chatTemplate(directory);
  const { AutoTokenizer, env } = await import('@huggingface/transformers');
  env.allowRemoteModels = false;
  try {
    const tokenizer = await AutoTokenizer.from_pretrained(resolve(directory), { local_files_only: true });
    return messages.map((content) => {
      const settings = { chat_template: template, tokenize: false, add_generation_prompt: true };
      const text: unknown = tokenizer.apply_chat_template([{ role: 'user', content }], settings);
      if (typeof text !== 'string') throw new Error('it gives no text');
      return text;
    });
  } catch (cause) {
    throw new Refusal(
      `The chat template of ${directory} could not be applied: ${cause instanceof Error ? cause.message : cause}.`,
      'Write the text of a turn out in --prompt, without --chat.',
      'generate/chat-template',
      { cause },
    );
  }
}

/** The template of a model: chat_template.jinja, or the one of tokenizer_config.json; of several the one called default. */
async function chatTemplate(directory: string): Promise<string> {
  const file = await readTextFile(join(directory, 'chat_template.jinja'), undefined, MOST_TEMPLATE);
  if (file !== null) return file;
  const config = await readTokenizerFile(directory, 'tokenizer_config.json');
  const path = join(directory, 'tokenizer_config.json');
  const { chat_template: given } = checkJson(configSchema, config, path, 'Download tokenizer_config.json again.');
  const found = Array.isArray(given) ? given.find(({ name }) => name === 'default')?.template : given;
  if (found != null) return found;
  throw new Refusal(
    `${directory} has no chat template: it is not a chat model, or a part of it is missing.`,
    'Leave --chat out, or use the instruction-tuned model.',
    'generate/no-chat-template',
  );
}

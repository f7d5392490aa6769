import { access } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Refusal } from '../config/refusal.js';

/** Text to token ids. */
export interface Tokenizer {
  readonly bosTokenId: number;
  /** Ids without BOS or other additions. */
  encode(text: string): number[];
}

/**
 * Opens the tokenizer of a model directory (tokenizer.json and tokenizer_config.json); nothing is downloaded.
 *
 * @param bosTokenId BOS as config.json has it
 * @throws Refusal when a file is missing or broken, or BOS is another token
 */
export async function openTokenizer(directory: string, bosTokenId: number): Promise<Tokenizer> {
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    await access(join(directory, name)).catch((cause) => {
      throw new Refusal(`${directory} has no ${name}.`, 'Download the whole checkpoint, tokenizer included.', {
        cause,
      });
    });
  }
  const { AutoTokenizer, env } = await import('@huggingface/transformers');
  env.allowRemoteModels = false;
  const tokenizer = await AutoTokenizer.from_pretrained(resolve(directory), { local_files_only: true }).catch(
    (cause) => {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new Refusal(
        `The tokenizer in ${directory} could not be opened: ${reason}.`,
        'Download tokenizer.json again.',
        { cause },
      );
    },
  );
  const bos = tokenizer.bos_token_id;
  if (bos !== bosTokenId) {
    throw new Refusal(
      `BOS is token ${bos} for the tokenizer in ${directory} and ${bosTokenId} in its config.json.`,
      'Tokenizer and weights must be of one checkpoint.',
    );
  }
  return { bosTokenId, encode: (text) => tokenizer.encode(text, { add_special_tokens: false }) };
}

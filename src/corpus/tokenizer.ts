import { join, resolve } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { formatBytes } from '../disk/free-space.js';
import { openRegular } from '../disk/regular-file.js';
import { piecesOf } from './pieces.js';

/** Text to token ids. */
export interface Tokenizer {
  readonly bosTokenId: number;
  /** Ids without BOS or other additions. */
  encode(text: string): number[];
}

/** Bytes of a file, at most; Gemma 3's tokenizer.json has 33 MiB. */
const MOST_BYTES = 2 ** 28;

/** Characters that are encoded at a time. */
const LONGEST = 2 ** 20;

/** Tokens are stored as int32. */
const isToken = (id: unknown): id is number => Number.isInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 31;

/**
 * Opens the tokenizer of a model directory (tokenizer.json and tokenizer_config.json); nothing is downloaded.
 *
 * @param bosTokenId BOS as config.json has it
 * @param longest characters that are encoded at a time: the library takes hundreds of bytes for each of them
 * @throws Refusal when a file is missing or broken, or BOS is another token
 */
export async function openTokenizer(directory: string, bosTokenId: number, longest = LONGEST): Promise<Tokenizer> {
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    const remedy = 'Download the whole checkpoint, tokenizer included.';
    const file = await openRegular(join(directory, name), remedy);
    if (!file) throw new Refusal(`${directory} has no ${name}.`, remedy);
    await file.handle.close();
    if (file.size > MOST_BYTES) {
      throw new Refusal(`${file.path} has more than ${formatBytes(MOST_BYTES)}.`, remedy);
    }
  }
  const { AutoTokenizer, env } = await import('@huggingface/transformers');
  env.allowRemoteModels = false;
  const tokenizer = await AutoTokenizer.from_pretrained(resolve(directory), { local_files_only: true }).catch(
    (cause) => {
      // The message of a syntax error quotes the file.
      const reason = cause instanceof SyntaxError ? 'it is not JSON' : ((cause as Error)?.message ?? cause);
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
  const broken = (what: string, cause?: unknown) =>
    new Refusal(`The tokenizer in ${directory} ${what}.`, 'Download tokenizer.json again.', { cause });
  const encodePiece = (text: string): readonly unknown[] => {
    try {
      return tokenizer.encode(text, { add_special_tokens: false });
    } catch (cause) {
      throw broken(`cannot encode a text: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
    }
  };
  const encode = (text: string) => {
    const ids: number[] = [];
    for (const piece of piecesOf(text, longest)) {
      for (const id of encodePiece(piece)) {
        if (!isToken(id)) throw broken(`gives ${JSON.stringify(id)} where a token's number belongs`);
        ids.push(id);
      }
    }
    return ids;
  };
  return { bosTokenId, encode };
}

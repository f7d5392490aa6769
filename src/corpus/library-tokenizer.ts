import { resolve } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { isToken } from './bpe/recipe.js';
import type { DocumentTokens, Tokenizer } from './tokenizer.js';

/** Characters of a document, at most: where this tokenizer's texts may be cut is not known. */
const LONGEST = 2 ** 20;

/**
 * The tokenizer of a model directory as transformers.js has it: slow, but it knows more kinds.
 *
 * @param file the parsed tokenizer.json
 * @param part why our encoder was not taken, to be read after "has"
 * @throws Refusal where it cannot be opened, or its tokens are known to differ from Python's
 */
export async function openLibraryTokenizer(directory: string, file: unknown, part: string): Promise<Tokenizer> {
  const { AutoTokenizer, env } = await import('@huggingface/transformers');
  env.allowRemoteModels = false;
  const broken = (what: string, cause?: unknown) =>
    new Refusal(`The tokenizer in ${directory} ${what}.`, 'Download tokenizer.json again.', { cause });
  const reason = (cause: unknown) => (cause instanceof Error ? cause.message : String(cause));
  const tokenizer = await AutoTokenizer.from_pretrained(resolve(directory), { local_files_only: true }).catch(
    (cause) => {
      throw broken(`could not be opened: ${reason(cause)}`, cause);
    },
  );
  const { added_tokens: list, model } = file as { added_tokens?: unknown; model?: { vocab?: unknown } };
  const added = (Array.isArray(list) ? list : []) as {
    id: unknown;
    content: unknown;
    special?: unknown;
    [flag: string]: unknown;
  }[];
  // It disagrees with Python about words, and about the white space that tokens take.
  for (const [flag, token] of ['single_word', 'lstrip', 'rstrip'].map(
    (name) => [name, added.find((t) => t?.[name])] as const,
  )) {
    if (!token) continue;
    throw new Refusal(
      `The tokenizer in ${directory} has ${part}, and the added token ${JSON.stringify(token.content)} with ${flag}: the two are not supported together.`,
      'Use the tokenizer.json of a Gemma checkpoint.',
    );
  }
  const encode = (text: string): Int32Array => {
    let ids: readonly unknown[];
    try {
      ids = tokenizer.encode(text, { add_special_tokens: false });
    } catch (cause) {
      throw broken(`cannot encode a text: ${reason(cause)}`, cause);
    }
    for (const id of ids) if (!isToken(id)) throw broken(`gives ${JSON.stringify(id)} where a token's number belongs`);
    return Int32Array.from(ids as number[]);
  };
  return {
    bosTokenId: isToken(tokenizer.bos_token_id) ? tokenizer.bos_token_id : -1,
    special: new Map(
      added
        .filter((token) => token?.special && isToken(token.id))
        .map(({ id, content }) => [id as number, typeof content === 'string' ? content : `token ${id}`]),
    ),
    vocabulary: sizeOf(model?.vocab),
    begin: (source) => new WholeDocument(encode, source, part),
  };
}

function sizeOf(vocab: unknown): number {
  let size = 0;
  for (const id of Object.values(vocab ?? {})) if (isToken(id)) size = Math.max(size, id + 1);
  return Array.isArray(vocab) ? vocab.length : size;
}

/** A document that is encoded when all of it is there. */
class WholeDocument implements DocumentTokens {
  private text = '';

  constructor(
    private readonly encode: (text: string) => Int32Array,
    private readonly source: string,
    private readonly part: string,
  ) {}

  push(piece: string): Int32Array[] {
    this.text += piece;
    if (this.text.length <= LONGEST) return [];
    throw new Refusal(
      `${this.source} has more than ${LONGEST} characters, and the tokenizer has ${this.part}: where its texts may be cut is not known.`,
      'Split the document into several.',
    );
  }

  end(): Int32Array[] {
    return this.text === '' ? [] : [this.encode(this.text)];
  }
}

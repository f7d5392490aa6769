import { Refusal, UsageRefusal } from '../../errors/refusal.js';
import type { Document } from '../contexts.js';

/** Column or key of token ids where none is named: what SAELens, sparsify and Hugging Face's tokenizers call it. */
export const USUAL_FIELD = 'input_ids';

/** @throws UsageRefusal where flags ask for token ids and conversations together */
export function checkIds({ idsField, chatField }: { readonly idsField?: string; readonly chatField?: string }): void {
  if (idsField === undefined || chatField === undefined) return;
  throw new UsageRefusal(
    '--ids-field reads token ids, and --chat-field conversations.',
    'Leave one of them out.',
    'corpus/ids-and-chats',
  );
}

/** The largest number that is held; the model's vocabulary is compared when contexts are made. */
const LARGEST = 2 ** 31 - 1;

/**
 * Numbers of a file as token ids.
 *
 * @param source their place, for messages
 * @throws Refusal where one is not a whole number from 0 on
 */
export function tokenIds(values: ArrayLike<unknown>, source: string, field: string): Int32Array {
  const ids = new Int32Array(values.length);
  for (let i = 0; i < ids.length; i++) {
    const value = values[i];
    const id = typeof value === 'bigint' ? Number(value) : value;
    if (!(Number.isInteger(id) && (id as number) >= 0 && (id as number) <= LARGEST)) {
      const shown = typeof value === 'object' ? 'no number' : String(value).slice(0, 40);
      throw new Refusal(
        `${source}: entry ${i} of "${field}" is ${shown}, which is not a token id.`,
        'Write lists of whole numbers from 0 on; leave padding such as -100 out.',
        'corpus/no-token-id',
      );
    }
    ids[i] = id as number;
  }
  return ids;
}

/** A list of token ids, as JSON has it, as a document. */
export function idsDocument(value: unknown, source: string, field: string): Document {
  if (Array.isArray(value)) return { pieces: [], ids: [tokenIds(value, source, field)], source };
  throw new Refusal(
    `${source}: "${field}" is not a list of token ids.`,
    'Name the key or column of the ids with --ids-field.',
    'corpus/no-token-id',
  );
}

/**
 * Documents whose ids are checked as they pass.
 *
 * @param vocabulary tokens that the model knows
 * @throws Refusal naming the document of an id that it does not know
 */
export async function* withinVocabulary(
  documents: AsyncIterable<Document>,
  vocabulary: number,
): AsyncGenerator<Document> {
  for await (const document of documents) {
    const { ids, source } = document;
    yield ids ? { ...document, ids: checked(ids, vocabulary, source) } : document;
  }
}

async function* checked(
  ids: NonNullable<Document['ids']>,
  vocabulary: number,
  source: string,
): AsyncGenerator<Int32Array> {
  let before = 0;
  for await (const part of ids) {
    const beyond = part.findIndex((id) => id >= vocabulary);
    if (beyond >= 0) {
      throw new Refusal(
        `${source}: entry ${before + beyond} is token ${part[beyond]}, and the model's vocabulary has ${vocabulary}.`,
        'The ids must be those of the tokenizer of this model.',
        'corpus/token-outside-vocabulary',
      );
    }
    before += part.length;
    yield part;
  }
}

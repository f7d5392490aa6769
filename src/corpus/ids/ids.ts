import { Refusal, UsageRefusal } from '../../errors/refusal.js';
import type { Document } from '../contexts.js';

/** Default column or key of token ids: the name used by SAELens, sparsify and Hugging Face's tokenizers. */
export const USUAL_FIELD = 'input_ids';

/** @throws UsageRefusal if flags request both token ids and conversations */
export function checkIds({ idsField, chatField }: { readonly idsField?: string; readonly chatField?: string }): void {
  if (idsField === undefined || chatField === undefined) return;
  throw new UsageRefusal(
    '--ids-field reads token ids, and --chat-field conversations.',
    'Omit one of them.',
    'corpus/ids-and-chats',
  );
}

/** The largest representable number; the model's vocabulary is checked when contexts are packed. */
const LARGEST = 2 ** 31 - 1;

/**
 * Numbers from a file as token ids.
 *
 * @param source their location, for messages
 * @throws Refusal if one is not a non-negative integer
 */
export function tokenIds(values: ArrayLike<unknown>, source: string, field: string): Int32Array {
  const ids = new Int32Array(values.length);
  for (let i = 0; i < ids.length; i++) {
    const value = values[i];
    const id = typeof value === 'bigint' ? Number(value) : value;
    if (!(Number.isInteger(id) && (id as number) >= 0 && (id as number) <= LARGEST)) {
      const shown = typeof value === 'object' ? 'not a number' : String(value).slice(0, 40);
      throw new Refusal(
        `${source}: entry ${i} of "${field}" is ${shown}, which is not a token id.`,
        'Write lists of non-negative integers, without padding such as -100.',
        'corpus/no-token-id',
      );
    }
    ids[i] = id as number;
  }
  return ids;
}

/** A JSON list of token ids as a document. */
export function idsDocument(value: unknown, source: string, field: string): Document {
  if (Array.isArray(value)) return { pieces: [], ids: [tokenIds(value, source, field)], source };
  throw new Refusal(
    `${source}: "${field}" is not a list of token ids.`,
    'Give the key or column of the ids with --ids-field.',
    'corpus/no-token-id',
  );
}

/**
 * Documents whose ids are validated as they pass through.
 *
 * @param vocabulary size of the model's vocabulary
 * @throws Refusal naming the document of an id outside the vocabulary
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
        `${source}: entry ${before + beyond} is token ${part[beyond]}, but the model's vocabulary has only ${vocabulary}.`,
        'The ids must be those of the tokenizer of this model.',
        'corpus/token-outside-vocabulary',
      );
    }
    before += part.length;
    yield part;
  }
}

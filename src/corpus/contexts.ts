import { setImmediate as turn } from 'node:timers/promises';
import { Refusal } from '../config/refusal.js';
import type { Document } from './documents.js';
import type { Tokenizer } from './tokenizer.js';

/** Contexts between two turns of the event loop: documents may come without one, and signals are heard in it. */
const CONTEXTS_A_TURN = 64;

/** A piece of the corpus as the model sees it: `length` tokens, the first of them BOS. */
export interface Context {
  /** Counts from 0 over the corpus. */
  readonly index: number;
  /** [length] */
  readonly tokens: Int32Array;
  /** [length]: which document each token came from, counting from 0; a BOS counts to the document that follows it. */
  readonly documents: Uint32Array;
}

/**
 * Lays documents end to end, each begun by BOS, and cuts the stream into contexts that each begin with BOS: where the
 * cut falls before a document's own BOS that one serves, elsewhere one is put in front and the context holds
 * `length` − 1 tokens of the stream. A last piece that fills no context is left out.
 */
export async function* packContexts(
  documents: AsyncIterable<Document> | Iterable<Document>,
  tokenizer: Tokenizer,
  length: number,
): AsyncGenerator<Context> {
  const bos = tokenizer.bosTokenId;
  let index = 0;
  let filled = 0;
  let tokens = new Int32Array(length);
  let sources = new Uint32Array(length);
  let document = -1;
  for await (const { pieces } of documents) {
    document++;
    let text = '';
    for await (const piece of pieces) text += piece;
    const ids = tokenizer.encode(text);
    // The document's own BOS is stream token −1; an empty document adds nothing.
    for (let i = ids.length === 0 ? 0 : -1; i < ids.length; i++) {
      if (filled === 0 && i >= 0 && ids[i] !== bos) {
        tokens[0] = bos;
        sources[0] = document;
        filled = 1;
      }
      tokens[filled] = i < 0 ? bos : ids[i]!;
      sources[filled] = document;
      filled++;
      if (filled === length) {
        yield { index, tokens, documents: sources };
        index++;
        if (index % CONTEXTS_A_TURN === 0) await turn();
        filled = 0;
        tokens = new Int32Array(length);
        sources = new Uint32Array(length);
      }
    }
  }
}

/** Groups of `size` contexts, the first of `first`; the last may be smaller. */
export async function* batches(
  contexts: AsyncIterable<Context>,
  size: number,
  first = size,
): AsyncGenerator<Context[]> {
  let batch: Context[] = [];
  let wanted = first;
  for await (const context of contexts) {
    batch.push(context);
    if (batch.length === wanted) {
      yield batch;
      batch = [];
      wanted = size;
    }
  }
  if (batch.length > 0) yield batch;
}

/**
 * Tokens of a batch as the model's int64 input, [batch × length].
 *
 * @throws Refusal when a token is beyond the model's vocabulary
 */
export function batchTokens(batch: readonly Context[], vocabulary: number): BigInt64Array {
  const length = batch[0]!.tokens.length;
  const tokens = new BigInt64Array(batch.length * length);
  for (const [b, context] of batch.entries()) {
    for (let t = 0; t < length; t++) {
      const token = context.tokens[t]!;
      if (token >= vocabulary) {
        throw new Refusal(
          `The tokenizer gives token ${token}, and the model's vocabulary has ${vocabulary}.`,
          'Tokenizer and weights must be of one checkpoint.',
        );
      }
      tokens[b * length + t] = BigInt(token);
    }
  }
  return tokens;
}

/** Positions of a context that hold a token other than BOS: those whose activations are stored. */
export function countActivations(context: Context, bos: number): number {
  let count = 0;
  for (const token of context.tokens) if (token !== bos) count++;
  return count;
}

import type { Encoding } from '../config/choices.js';
import type { Context, WrittenOut } from './contexts.js';
import type { ExpectedTokens } from './tokenizer.js';

/** Which text is to be read, and how. */
export interface TextStart {
  /** The model's directory, for its tokenizer. */
  readonly model: string;
  readonly expected: ExpectedTokens;
  readonly corpus: string;
  readonly textField: string;
  readonly encoding?: Encoding;
  /** Tokens a context, BOS included. */
  readonly context: number;
}

/** What is known of the tokenizer. */
export interface TokenizerFacts {
  readonly bosTokenId: number;
  /** Tokens that stand for no text, by their numbers. */
  readonly special: ReadonlyMap<number, string>;
}

/** Contexts that follow each other, as they cross between threads and are kept. */
export interface Chunk {
  /** Number of the first context. */
  readonly first: number;
  /** [contexts × context] */
  readonly tokens: Int32Array;
  /** Documents as [number, tokens, …]: which document how many tokens in a row are of. */
  readonly runs: Uint32Array;
}

/** The thread is asked for a chunk, as often as it is told `next`, or to end. */
export type TextRequest = 'next' | 'close';

/** What is said of the text while it is read. */
export interface Heard {
  /** Special tokens met so far. */
  readonly written: WrittenOut;
  /** Lines about files that are done with. */
  readonly lines: readonly string[];
}

/** What the thread says: first that its tokenizer is open, then an answer to each request. */
export type TextReply =
  | { readonly kind: 'ready'; readonly facts: TokenizerFacts }
  | { readonly kind: 'chunk'; readonly chunk: Chunk; readonly heard: Heard }
  | { readonly kind: 'end'; readonly heard: Heard }
  | { readonly kind: 'closed'; readonly heard: Heard }
  | { readonly kind: 'refused'; readonly message: string; readonly remedy?: string; readonly exitCode: 1 | 2 };

/** Contexts of one length as a chunk. */
export function chunkOf(contexts: readonly Context[]): Chunk {
  const length = contexts[0]!.tokens.length;
  const tokens = new Int32Array(contexts.length * length);
  const runs: number[] = [];
  for (const [i, context] of contexts.entries()) {
    tokens.set(context.tokens, i * length);
    for (const document of context.documents) {
      if (runs.at(-2) === document) runs[runs.length - 1]!++;
      else runs.push(document, 1);
    }
  }
  return { first: contexts[0]!.index, tokens, runs: Uint32Array.from(runs) };
}

/** The contexts of a chunk. */
export function* contextsOf({ first, tokens, runs }: Chunk, length: number): Generator<Context> {
  let run = 0;
  let left = runs[1]!;
  for (let at = 0; at < tokens.length; at += length) {
    const documents = new Uint32Array(length);
    for (let filled = 0; filled < length; ) {
      if (left === 0) {
        run += 2;
        left = runs[run + 1]!;
      }
      const count = Math.min(left, length - filled);
      documents.fill(runs[run]!, filled, filled + count);
      filled += count;
      left -= count;
    }
    yield { index: first + at / length, tokens: tokens.slice(at, at + length), documents };
  }
}

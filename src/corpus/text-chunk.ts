import type { Context } from './contexts.js';

/** Contexts that follow each other, as they cross between threads and are kept. */
export interface TextChunk {
  /** Number of the first context. */
  readonly first: number;
  /** [contexts × context] */
  readonly tokens: Int32Array;
  /** Documents as [number, tokens, …]: which document how many tokens in a row are of. */
  readonly runs: Uint32Array;
  /** [contexts × context]: 1 where a position can have a row; all can where absent. */
  readonly counted?: Uint8Array;
}

/** Memory of a chunk, to be handed over. */
export function chunkBuffers({ tokens, runs, counted }: TextChunk): ArrayBuffer[] {
  return [tokens, runs, ...(counted ? [counted] : [])].map(({ buffer }) => buffer as ArrayBuffer);
}

/** Contexts of one length as a chunk. */
export function chunkOf(contexts: readonly Context[]): TextChunk {
  const length = contexts[0]!.tokens.length;
  const tokens = new Int32Array(contexts.length * length);
  const counted = contexts.some((context) => context.counted) ? new Uint8Array(tokens.length) : undefined;
  const runs: number[] = [];
  for (const [i, context] of contexts.entries()) {
    tokens.set(context.tokens, i * length);
    counted?.set(context.counted ?? new Uint8Array(length).fill(1), i * length);
    for (const document of context.documents) {
      if (runs.at(-2) === document) runs[runs.length - 1]!++;
      else runs.push(document, 1);
    }
  }
  return { first: contexts[0]!.index, tokens, runs: Uint32Array.from(runs), ...(counted && { counted }) };
}

/** The contexts of a chunk. */
export function* contextsOf({ first, tokens, runs, counted }: TextChunk, length: number): Generator<Context> {
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
    const context = { index: first + at / length, tokens: tokens.slice(at, at + length), documents };
    yield counted ? { ...context, counted: counted.slice(at, at + length) } : context;
  }
}

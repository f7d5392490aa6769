import type { Context } from './contexts.js';

/** Consecutive contexts, in the form in which they are sent between threads and kept. */
export interface TextChunk {
  /** Number of the first context. */
  readonly first: number;
  /** [contexts × context] */
  readonly tokens: Int32Array;
  /** Document of each token, run-length encoded as [number, tokens, …]. */
  readonly runs: Uint32Array;
  /** [contexts × context]: 1 where a position can have a row; all can if absent. */
  readonly counted?: Uint8Array;
  /** [contexts × figures]: what was read up to the end of each, if counted. */
  readonly read?: Float64Array;
  /** [contexts × figures]: position of the text after each, if reading could start there. */
  readonly positions?: Float64Array;
}

/** The buffers of a chunk, for transferring. */
export function chunkBuffers({ tokens, runs, counted, read, positions }: TextChunk): ArrayBuffer[] {
  const arrays = [tokens, runs, counted, read, positions].filter((array) => array !== undefined);
  return arrays.map(({ buffer }) => buffer as ArrayBuffer);
}

/** Packs contexts of one length into a chunk. */
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
  const read = joined(contexts.map((context) => context.read));
  const positions = joined(contexts.map(({ position }) => position));
  const first = contexts[0]!.index;
  return {
    ...{ first, tokens, runs: Uint32Array.from(runs) },
    ...{ ...(counted && { counted }), ...(read && { read }), ...(positions && { positions }) },
  };
}

/** Figures of contexts, if all have them. */
function joined(parts: readonly (Float64Array | undefined)[]): Float64Array | undefined {
  const figures = parts[0]?.length ?? 0;
  if (figures === 0 || parts.includes(undefined)) return undefined;
  const whole = new Float64Array(parts.length * figures);
  for (const [i, part] of parts.entries()) whole.set(part!, i * figures);
  return whole;
}

/** The contexts of a chunk. */
export function* contextsOf(chunk: TextChunk, length: number): Generator<Context> {
  const { first, tokens, runs, counted, read, positions } = chunk;
  const contexts = tokens.length / length;
  const partOf = (figures: Float64Array, i: number) => {
    const count = figures.length / contexts;
    return figures.subarray(i * count, (i + 1) * count);
  };
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
    const i = at / length;
    yield {
      ...{ index: first + i, tokens: tokens.slice(at, at + length), documents },
      ...(counted && { counted: counted.slice(at, at + length) }),
      ...(read && { read: partOf(read, i) }),
      ...(positions && { position: partOf(positions, i) }),
    };
  }
}

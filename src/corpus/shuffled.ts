import { Refusal } from '../errors/refusal.js';
import type { Generator } from '../random/generator.js';
import type { Document } from './contexts.js';

/** Max memory of such a buffer, whatever the number of documents. */
export const SHUFFLED_BYTES = 2 ** 28;
/** Approximate memory overhead per document. */
const DOCUMENT_BYTES = 512;
/** Approximate memory overhead per value in an object or list. */
const VALUE_BYTES = 16;

/**
 * Documents in another order: each is drawn from a buffer of N, and the next one takes its place. Documents are held in
 * full, so they are also drawn early if the next one would make the buffer larger than `most` bytes.
 *
 * @param size number of documents in the buffer
 * @throws Refusal if one document is larger than the buffer may be
 */
export async function* shuffled(
  documents: AsyncIterable<Document>,
  size: number,
  generator: Generator,
  most = SHUFFLED_BYTES,
): AsyncGenerator<Document> {
  const held: Held[] = [];
  let total = 0;
  const draw = (): Document => {
    const at = generator.below(held.length);
    const { document, bytes } = held[at]!;
    const last = held.pop()!;
    if (at < held.length) held[at] = last;
    total -= bytes;
    return document;
  };
  for await (const document of documents) {
    const coming = new Coming(document);
    for await (const bytes of coming.read()) {
      if (bytes > most) throw tooLarge(document, most);
      while (total + bytes > most) yield draw();
    }
    held.push(coming.whole());
    total += coming.bytes;
    while (held.length > size) yield draw();
  }
  while (held.length > 0) yield draw();
}

interface Held {
  readonly document: Document;
  readonly bytes: number;
}

/** A document being read into memory. */
class Coming {
  /** So far; two bytes per character, as needed beyond Latin-1. */
  bytes: number;
  private readonly pieces: string[] = [];
  private readonly ids: Int32Array[] = [];

  constructor(private readonly document: Document) {
    this.bytes = DOCUMENT_BYTES + sizeOf(document.conversation) + sizeOf(document.source);
  }

  /** Reads all of it, reporting its size as it grows. */
  async *read(): AsyncGenerator<number> {
    yield this.bytes;
    for await (const piece of this.document.pieces) {
      this.pieces.push(piece);
      this.bytes += sizeOf(piece);
      yield this.bytes;
    }
    for await (const part of this.document.ids ?? []) {
      this.ids.push(part);
      this.bytes += part.byteLength;
      yield this.bytes;
    }
  }

  whole(): Held {
    const { document, pieces, ids, bytes } = this;
    return { document: { ...document, pieces, ...(document.ids && { ids }) }, bytes };
  }
}

/** Approximate memory of a JSON value. */
function sizeOf(value: unknown): number {
  let bytes = 0;
  // No recursion: JSON nests as deeply as a line is long.
  for (const open = [value]; open.length > 0; ) {
    const one = open.pop();
    bytes += VALUE_BYTES;
    if (typeof one === 'string') bytes += 2 * one.length;
    else if (Array.isArray(one)) for (const part of one as unknown[]) open.push(part);
    else if (one !== null && typeof one === 'object') for (const entry of Object.entries(one)) open.push(...entry);
  }
  return bytes;
}

function tooLarge({ source }: Document, most: number): Refusal {
  return new Refusal(
    `${source} takes more than ${most} bytes of memory, and --shuffle-buffer holds complete documents.`,
    'Omit --shuffle-buffer, or split the document.',
    'corpus/document-too-long',
  );
}

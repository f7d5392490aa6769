import { Refusal } from '../errors/refusal.js';
import type { Generator } from '../random/generator.js';
import type { Document } from './contexts.js';

/** Characters that are held, at most, whatever the number of documents. */
const SHUFFLED_CHARACTERS = 2 ** 27;
/** Memory of such a buffer, at most. */
export const SHUFFLED_BYTES = 2 * SHUFFLED_CHARACTERS;

/**
 * Documents in another order: each is drawn from a buffer of so many, into which the next one then comes. What is held
 * is held whole, so a buffer also counts as full when its texts have SHUFFLED_CHARACTERS.
 *
 * @param size documents of the buffer
 * @throws Refusal where one document is longer than a buffer may be
 */
export async function* shuffled(
  documents: AsyncIterable<Document>,
  size: number,
  generator: Generator,
  most = SHUFFLED_CHARACTERS,
): AsyncGenerator<Document> {
  const held: Held[] = [];
  let characters = 0;
  const draw = (): Document => {
    const at = generator.below(held.length);
    const { document, length } = held[at]!;
    const last = held.pop()!;
    if (at < held.length) held[at] = last;
    characters -= length;
    return document;
  };
  for await (const document of documents) {
    const whole = await heldWhole(document, most);
    held.push(whole);
    characters += whole.length;
    while (held.length > size || (characters > most && held.length > 1)) yield draw();
  }
  while (held.length > 0) yield draw();
}

interface Held {
  readonly document: Document;
  readonly length: number;
}

async function heldWhole(document: Document, most: number): Promise<Held> {
  let length = 0;
  const whole = async <T extends string | Int32Array>(parts: Iterable<T> | AsyncIterable<T>): Promise<T[]> => {
    const held: T[] = [];
    for await (const part of parts) {
      held.push(part);
      length += part.length;
      if (length > most) throw tooLong(document, most);
    }
    return held;
  };
  const pieces = await whole(document.pieces);
  const ids = document.ids && (await whole(document.ids));
  return { document: { ...document, pieces, ...(ids && { ids }) }, length };
}

function tooLong({ source }: Document, most: number): Refusal {
  return new Refusal(
    `${source} has more than ${most} characters or tokens, and --shuffle-buffer holds documents whole.`,
    'Leave --shuffle-buffer out, or split the document.',
    'corpus/document-too-long',
  );
}

import type { Document } from '../../src/corpus/contexts.js';
import { readDocuments } from '../../src/corpus/documents.js';

/** A document whose pieces are joined. */
export interface WholeDocument {
  readonly text: string;
  readonly source: string;
}

export async function wholeDocument({ pieces, source }: Document): Promise<WholeDocument> {
  let text = '';
  for await (const piece of pieces) text += piece;
  return { text, source };
}

/** Documents of a corpus from readDocuments, with their complete texts. */
export async function* wholeDocuments(...args: Parameters<typeof readDocuments>): AsyncGenerator<WholeDocument> {
  for await (const document of readDocuments(...args)) yield wholeDocument(document);
}

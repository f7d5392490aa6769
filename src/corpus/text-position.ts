import { z } from 'zod';

/** Where a document stands in its file. */
interface PlaceInFile {
  /** Lines, rows or documents of the file before it, those that are passed over included. */
  readonly row: number;
  /** Of JSON Lines: bytes of the file's text before its line, as UTF-8. */
  readonly byte: number;
}

/** A document at which reading of a corpus begins. */
export type CorpusBegin = Pick<TextPosition, 'file' | 'row' | 'byte' | 'number' | 'ids'>;

/** Where a document stands in its corpus. */
export interface DocumentPlace extends PlaceInFile {
  /** Number of its file, in the order in which they are read. */
  readonly file?: number;
  /** Documents of the corpus before it, whether they are chosen or not. */
  readonly number?: number;
}

/** Where the text that is read of a file begins. */
export interface TextBegin {
  /** Lines before it. */
  readonly row: number;
  /** Bytes before it. */
  byte: number;
}

/** The beginning of a file. */
export const fileBegin = (): TextBegin => ({ row: 0, byte: 0 });

const count = z.int().nonnegative();

/**
 * Where a text stands between two contexts: at a document, and how much of that is used up. Reading can begin there, as
 * if all before it had been read.
 */
export const textPositionSchema = z.object({
  /** Contexts before it. */
  contexts: count,
  /** Number of the document as contexts have it; documents of the corpus before it, those not chosen included. */
  document: count,
  number: count,
  /** Where it is: file, row or line, byte. */
  file: count,
  row: count,
  byte: count,
  /** Tokens of it before the position; all, where it is over. */
  tokens: count,
  over: z.boolean(),
  /** Does it come as token ids? */
  ids: z.boolean(),
});

export type TextPosition = Readonly<z.infer<typeof textPositionSchema>>;

/** A position as numbers, which cross between threads with their contexts. */
export function positionFigures(position: Omit<TextPosition, 'contexts'>): number[] {
  const { document, number, file, row, byte, tokens, over, ids } = position;
  return [document, number, file, row, byte, tokens, Number(over), Number(ids)];
}

/** @param contexts before the position */
export function positionOf(figures: Float64Array, contexts: number): TextPosition {
  const [document, number, file, row, byte, tokens, over, ids] = figures as unknown as number[];
  return {
    ...{ contexts, document: document!, number: number!, file: file!, row: row!, byte: byte!, tokens: tokens! },
    ...{ over: over === 1, ids: ids === 1 },
  };
}

import { z } from 'zod';

/** Position of a document in its file. */
interface PlaceInFile {
  /** Lines, rows or documents of the file before it, including skipped ones. */
  readonly row: number;
  /** For JSON Lines: UTF-8 bytes of the file's text before its line. */
  readonly byte: number;
}

/** The document at which reading of a corpus starts. */
export type CorpusBegin = Pick<TextPosition, 'file' | 'row' | 'byte' | 'number' | 'ids'>;

/** Position of a document in its corpus. */
export interface DocumentPlace extends PlaceInFile {
  /** Number of its file, in reading order. */
  readonly file?: number;
  /** Documents of the corpus before it, chosen or not. */
  readonly number?: number;
}

/** Position in a file at which its text starts. */
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
 * Position of a text between two contexts: a document, and how much of it has been used. Reading can start there as if
 * everything before had been read.
 */
export const textPositionSchema = z.object({
  /** Contexts before it. */
  contexts: count,
  /** Number of the document in contexts; and documents of the corpus before it, including those not chosen. */
  document: count,
  number: count,
  /** Its location: file, row or line, byte. */
  file: count,
  row: count,
  byte: count,
  /** Tokens of it before the position; all of them if it is complete. */
  tokens: count,
  over: z.boolean(),
  /** Is it a document of token ids? */
  ids: z.boolean(),
});

export type TextPosition = Readonly<z.infer<typeof textPositionSchema>>;

/** A position as numbers, sent between threads with the contexts. */
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

import { createHash } from 'node:crypto';
import type { z } from 'zod';
import type { documentsSchema } from '../sae/training-record.js';
import type { Document } from './contexts.js';
import { mixtureOf } from './mixture.js';

/** Which documents of a corpus are read, as recorded by stores, SAEs and evaluations. */
export type DocumentChoice = Readonly<z.infer<typeof documentsSchema>>;

/** Flags that choose documents. */
interface ChoosingFlags {
  readonly skipDocuments?: number;
  readonly maxDocuments?: number;
  readonly holdout?: string;
  readonly shuffleBuffer?: number;
  readonly corpus?: readonly string[];
  readonly corpusWeights?: readonly number[];
  readonly mixtureStop?: 'all' | 'first';
}

/**
 * The choice given by flags; undefined if every document is read.
 *
 * @param heldOut whether the text is for evaluation: --holdout then selects what it leaves out elsewhere
 */
export function documentChoice(flags: ChoosingFlags, heldOut: boolean): DocumentChoice | undefined {
  const { skipDocuments = 0, maxDocuments, holdout, shuffleBuffer } = flags;
  const mixture = mixtureOf(flags);
  const choice: DocumentChoice = {
    ...(skipDocuments > 0 && { skip: skipDocuments }),
    ...(maxDocuments !== undefined && { most: maxDocuments }),
    ...(holdout !== undefined && { holdout, ...(heldOut && { held_out: true as const }) }),
    ...(shuffleBuffer !== undefined && { shuffle: shuffleBuffer }),
    ...(mixture && { mixture }),
  };
  return Object.keys(choice).length === 0 ? undefined : choice;
}

/** Parses a share, "1%" or "0.01". */
export const shareInWords = (text: string): number =>
  text.endsWith('%') ? Number(text.slice(0, -1)) / 100 : Number(text);

/**
 * The documents of one corpus that are chosen.
 *
 * @param first number of the first document in `documents`
 */
export async function* chosenDocuments(
  documents: AsyncIterable<Document>,
  { skip = 0, most = Number.POSITIVE_INFINITY, holdout, held_out: heldOut }: DocumentChoice,
  first = 0,
): AsyncGenerator<Document> {
  let number = first;
  for await (const document of documents) {
    const taken = number++ - skip;
    if (taken >= 0) {
      const share = holdout === undefined ? undefined : shareInWords(holdout);
      const side = document.ids ? idsOnSide : onSide;
      const whole = share === undefined ? document : await side(document, share, heldOut === true);
      if (whole) yield whole;
    }
    if (taken + 1 >= most) return;
  }
}

/** Leading characters of a document that determine whether it is held out; identical copies thus stay together. */
const DECIDING = 1024;

/** The document, if it is on the requested side. */
async function onSide({ pieces, ...other }: Document, share: number, heldOut: boolean): Promise<Document | undefined> {
  const rest = (async function* () {
    yield* pieces;
  })();
  let begun = '';
  while (begun.length < DECIDING) {
    const { value, done } = await rest.next();
    if (done) break;
    begun += value;
  }
  if (isHeldOut(begun, share) !== heldOut) return undefined;
  const all = async function* () {
    if (begun !== '') yield begun;
    yield* rest;
  };
  return { ...other, pieces: all() };
}

/** The same for a document of token ids: its first ids decide. */
async function idsOnSide(document: Document, share: number, heldOut: boolean): Promise<Document | undefined> {
  const rest = (async function* () {
    yield* document.ids!;
  })();
  const begun: Int32Array[] = [];
  for (let count = 0; count < DECIDING; count += begun.at(-1)!.length) {
    const { value, done } = await rest.next();
    if (done) break;
    begun.push(value);
  }
  const first = begun.flatMap((part) => [...part.subarray(0, DECIDING)]).slice(0, DECIDING);
  if (isHeldOut(first.join(' '), share) !== heldOut) return undefined;
  const all = async function* () {
    yield* begun;
    yield* rest;
  };
  return { ...document, ids: all() };
}

/** Is a text with this beginning held out? The same for every corpus, order and command. */
export function isHeldOut(text: string, share: number): boolean {
  const digest = createHash('sha256').update(text.slice(0, DECIDING)).digest();
  return digest.readUIntBE(0, 6) / 2 ** 48 < share;
}

/**
 * Can two choices from one corpus share a document?
 *
 * @param one choice for training
 * @param other choice for evaluation
 * @param sameOrder whether both number documents in the same order
 */
export function mayShare(
  one: DocumentChoice | undefined,
  other: DocumentChoice | undefined,
  sameOrder = true,
): boolean {
  const end = ({ skip = 0, most = Number.POSITIVE_INFINITY }: DocumentChoice = {}) => skip + most;
  const apart = end(one) <= (other?.skip ?? 0) || end(other) <= (one?.skip ?? 0);
  if (sameOrder && apart) return false;
  if (one?.holdout === undefined || one.held_out || !other?.held_out) return true;
  return shareInWords(other.holdout!) > shareInWords(one.holdout);
}

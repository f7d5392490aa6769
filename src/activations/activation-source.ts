import type { z } from 'zod';
import type { chatSchema, corporaReadSchema, documentsSchema, textRead } from '../sae/training-record.js';
import type { ActivationDType, NormLimit } from './manifest.js';
import type { ActivationArray, Examples } from './rows.js';

/** Activations of one step, in the source's dtype: what is encoded, and what is to be reconstructed. */
export interface Batch {
  /** [rows × d_in] */
  readonly x: ActivationArray;
  /** [rows × d_out], row-aligned with x; x itself if absent. */
  readonly y?: ActivationArray;
}

/** Order in which rows are dealt: mixed over the whole source, or as they lie. */
export type Order = 'shuffled' | 'stored';

/** What is to be reconstructed, where that is not the input: activations of another hook at the same positions. */
export interface Target {
  readonly hook: string;
  readonly dOut: number;
  /** E|y|, as SourceDescription.meanNorm. */
  readonly meanNorm: number | null;
}

/** What training must know of its activations before it sees the first of them. */
export interface SourceDescription {
  /** For messages: a directory, or what else the rows come from. */
  readonly place: string;
  readonly model: { readonly name: string; readonly fingerprint: string };
  readonly hook: string;
  readonly dIn: number;
  /** Of the input, and of the target. */
  readonly dtype: ActivationDType;
  /** The input itself if absent. */
  readonly target?: Target;
  /** Tokens a context, BOS included. */
  readonly context: number;
  /** Do contexts begin with BOS, at which there are no rows? */
  readonly prependBos: boolean;
  readonly corpus: string;
  /** Tokens other than BOS at which there are no rows. */
  readonly excludedTokens?: readonly number[];
  /** Documents of the corpus that were read; all where it is absent. */
  readonly documents?: Readonly<z.infer<typeof documentsSchema>>;
  /** What the harvest read of each corpus, where it has ended. */
  readonly read?: Readonly<z.infer<typeof corporaReadSchema>>;
  /** How conversations were read, where it was those. */
  readonly chat?: Readonly<z.infer<typeof chatSchema>>;
  /** Rows that are longer are left out: by the harvest of a store, or by training. */
  readonly normLimit?: NormLimit;
  /** Rows of one pass over the source. */
  readonly rows: number;
  /** E|x| over those rows; null if it cannot be known before they have passed. */
  readonly meanNorm: number | null;
  /** Stands for the rows and their order: sources of equal identity give the same training. */
  readonly identity: string;
}

/** The text of a source that passes once, from its beginning to where its first `rows` rows end. */
export type TextRead = Readonly<z.infer<typeof textRead>>;

/** Where training takes its activations from: a store, a stream, or a running model. */
export interface ActivationSource {
  readonly about: SourceDescription;
  /** Begins dealing at the first row. A source that passes only once can be asked once. */
  batches(order: Order, seed: number): Batches;
  /** Bytes of rows in memory at a time, at most, and rows of a piece of `inputs`. */
  memory(order: Order): { readonly held: number; readonly pieceRows: number };
  /**
   * Reads what training leaves of a stream, to its end: to its writer a reader that goes away has failed.
   *
   * @throws Refusal if the text is not the one that `Batches.expectText` was told
   * @throws Interrupted
   */
  passOver?(): Promise<void>;
  close(): Promise<void>;
}

/** Activations dealt batch by batch. What is dealt is a function of (source, order, seed, rows dealt before) alone. */
export interface Batches {
  /** Goes to the state after `rows` rows were dealt; a source that passes only once goes forward only. */
  seek(rows: number): Promise<void>;
  /**
   * The next `size` rows, entries of the source's dtype: bits of float16 or bfloat16, or float32.
   *
   * @param into a batch of before that nobody reads any more: written to where it fits, which spares a new array
   * @throws Refusal when the source ends before
   */
  next(size: number, into?: Batch): Promise<Batch>;
  /**
   * Rows to look at without training on them, for estimates and resampling, in pieces. A store gives its shards in a
   * random order set by (seed, occasion); a source that passes only once gives the rows it holds in memory, those from
   * which the next batch is dealt. Deals nothing.
   */
  inputs(occasion: number): AsyncIterable<Examples>;
  /**
   * Of a source that passes once: the text that was read for the first `rows` rows, for the checkpoint after them. A
   * store's rows are known by its identity.
   */
  textRead?(rows: number): TextRead | undefined;
  /** To be called before `seek`, which then refuses another text than this one, as far as it reaches. */
  expectText?(text: TextRead): void;
}

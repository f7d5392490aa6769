import type { z } from 'zod';
import type { chatSchema, corporaReadSchema, documentsSchema, textRead } from '../sae/training-record.js';
import type { ActivationDType, NormLimit } from './manifest.js';
import type { ActivationArray, Examples } from './rows.js';

/** Activations of one step, in the source's dtype: input and target. */
export interface Batch {
  /** [rows × d_in] */
  readonly x: ActivationArray;
  /** [rows × d_out], row-aligned with x; x itself if absent. */
  readonly y?: ActivationArray;
}

/** Order in which rows are dealt: shuffled over the whole source, or as stored. */
export type Order = 'shuffled' | 'stored';

/** The target, if it is not the input: activations of another hook at the same positions. */
export interface Target {
  readonly hook: string;
  readonly dOut: number;
  /** E|y|, as SourceDescription.meanNorm. */
  readonly meanNorm: number | null;
}

/** What training must know about its activations before the first batch. */
export interface SourceDescription {
  /** Origin of the rows, for messages: a directory, for example. */
  readonly place: string;
  readonly model: { readonly name: string; readonly fingerprint: string };
  readonly hook: string;
  readonly dIn: number;
  /** Of the input, and of the target. */
  readonly dtype: ActivationDType;
  /** The input itself if absent. */
  readonly target?: Target;
  /** Tokens per context, BOS included. */
  readonly context: number;
  /** Do contexts begin with BOS, at which there are no rows? */
  readonly prependBos: boolean;
  readonly corpus: string;
  /** Tokens other than BOS at which there are no rows. */
  readonly excludedTokens?: readonly number[];
  /** Documents of the corpus that were read; all if absent. */
  readonly documents?: Readonly<z.infer<typeof documentsSchema>>;
  /** What the harvest read of each corpus, if it is complete. */
  readonly read?: Readonly<z.infer<typeof corporaReadSchema>>;
  /** How conversations were read, if the corpus had any. */
  readonly chat?: Readonly<z.infer<typeof chatSchema>>;
  /** Rows with a larger norm are left out, by the harvest of a store or by training. */
  readonly normLimit?: NormLimit;
  /** Rows of one pass over the source. */
  readonly rows: number;
  /** E|x| over those rows; null if it cannot be known before they have passed. */
  readonly meanNorm: number | null;
  /** Identifies the rows and their order: sources of equal identity give the same training. */
  readonly identity: string;
}

/** The text of a source that can be read only once, up to the end of its first `rows` rows. */
export type TextRead = Readonly<z.infer<typeof textRead>>;

/** Where training takes its activations from: a store, a stream, or a running model. */
export interface ActivationSource {
  readonly about: SourceDescription;
  /** Starts dealing at the first row; to be called once on a source that can be read only once. */
  batches(order: Order, seed: number): Batches;
  /** Max bytes of rows in memory at a time, and rows per piece of `inputs`. */
  memory(order: Order): { readonly held: number; readonly pieceRows: number };
  /**
   * Reads the rest of a stream that training does not need: a writer whose reader exits would fail.
   *
   * @throws Refusal if the text is not the one that `Batches.expectText` was told
   * @throws Interrupted
   */
  passOver?(): Promise<void>;
  close(): Promise<void>;
}

/** Activations dealt in batches. A batch is a function of (source, order, seed, rows dealt before) alone. */
export interface Batches {
  /** Moves to the state after `rows` rows were dealt; only forward if the source can be read only once. */
  seek(rows: number): Promise<void>;
  /**
   * The next `size` rows, entries of the source's dtype: bits of float16 or bfloat16, or float32.
   *
   * @param into an earlier batch the caller has finished with: its arrays are reused if they fit
   * @throws Refusal when the source ends before
   */
  next(size: number, into?: Batch): Promise<Batch>;
  /**
   * Rows to sample without training on them, for estimates and resampling, in pieces. A store gives its shards in a
   * random order set by (seed, occasion); a source that can be read only once gives the rows in memory, those from
   * which the next batch is dealt. Deals nothing.
   */
  inputs(occasion: number): AsyncIterable<Examples>;
  /**
   * For a source that can be read only once: the text of the first `rows` rows, for the checkpoint after them. A
   * store's rows are known by its identity.
   */
  textRead?(rows: number): TextRead | undefined;
  /** To be called before `seek`, which then refuses a text that differs from this one within its length. */
  expectText?(text: TextRead): void;
}

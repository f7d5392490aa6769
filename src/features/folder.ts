import { z } from 'zod';
import { chatSchema, documentsSchema } from '../sae/training-record.js';

// The output of `features`: a folder of Parquet files and its record. docs/explanation/features.md explains each
// number.

/** The record of the folder; written last, so a folder that has it is complete. */
export const FEATURES_FILE = 'features.json';
/** Every token of the model as displayed. */
export const VOCABULARY_FILE = 'vocabulary.parquet';

/** Features per file, except the last file of an SAE. */
export const FILE_FEATURES = 16_384;
/** Features per row group of features-*.parquet and of examples-*.parquet: what is read to show one feature. */
export const FEATURE_GROUP = 1024;
export const EXAMPLE_GROUP = 64;

const numbered = (what: string, i: number) => `${what}-${String(i).padStart(5, '0')}.parquet`;

/** File names for features [i · FILE_FEATURES, (i + 1) · FILE_FEATURES) of an SAE. */
export const featuresFile = (i: number): string => numbered('features', i);
export const examplesFile = (i: number): string => numbered('examples', i);

/** Number of files of each kind per SAE. */
export const fileCount = (dSae: number): number => Math.ceil(dSae / FILE_FEATURES);

/** A column: its name, element type, and whether each row is a list. */
interface Column {
  readonly name: string;
  readonly type: 'INT32' | 'INT64' | 'FLOAT' | 'DOUBLE' | 'STRING';
  readonly list?: true;
}

/** Columns of features-*.parquet: one row per feature, in order. */
export const FEATURE_COLUMNS = [
  { name: 'feature', type: 'INT32' },
  { name: 'active_tokens', type: 'INT64' },
  { name: 'frequency', type: 'DOUBLE' },
  { name: 'mean_active', type: 'FLOAT' },
  { name: 'max', type: 'FLOAT' },
  { name: 'norm_share', type: 'DOUBLE' },
  { name: 'decoder_norm', type: 'FLOAT' },
  { name: 'encoder_norm', type: 'FLOAT' },
  { name: 'encoder_decoder_cosine', type: 'FLOAT' },
  { name: 'histogram_first', type: 'INT32' },
  { name: 'histogram', type: 'INT64', list: true },
  // Tokens at the peaks of band 0, strongest first, without repetition, at most 5: `explore` lists and searches by
  // them.
  { name: 'peak_tokens', type: 'INT32', list: true },
  { name: 'top_logit_tokens', type: 'INT32', list: true },
  { name: 'top_logits', type: 'FLOAT', list: true },
  { name: 'bottom_logit_tokens', type: 'INT32', list: true },
  { name: 'bottom_logits', type: 'FLOAT', list: true },
  { name: 'decoder_neighbours', type: 'INT32', list: true },
  { name: 'decoder_cosines', type: 'FLOAT', list: true },
  { name: 'encoder_neighbours', type: 'INT32', list: true },
  { name: 'encoder_cosines', type: 'FLOAT', list: true },
  { name: 'cofiring', type: 'INT32', list: true },
  { name: 'cofiring_correlations', type: 'FLOAT', list: true },
  { name: 'cofiring_tokens', type: 'INT32', list: true },
] as const satisfies readonly Column[];

/** Columns of examples-*.parquet: rows sorted by (feature, band, rank). */
export const EXAMPLE_COLUMNS = [
  { name: 'feature', type: 'INT32' },
  { name: 'band', type: 'INT32' },
  { name: 'rank', type: 'INT32' },
  { name: 'value', type: 'FLOAT' },
  { name: 'context', type: 'INT64' },
  { name: 'position', type: 'INT32' },
  { name: 'first', type: 'INT32' },
  { name: 'tokens', type: 'INT32', list: true },
  { name: 'activations', type: 'FLOAT', list: true },
] as const satisfies readonly Column[];

/** Columns of vocabulary.parquet: one row per token, in order. */
export const VOCABULARY_COLUMNS = [
  { name: 'id', type: 'INT32' },
  { name: 'text', type: 'STRING' },
] as const satisfies readonly Column[];

export type Columns = readonly Column[];
type ElementOf<C extends Column> = C['type'] extends 'STRING' ? string : number;

/** A row, by column name. Lists are plain arrays: the writer accepts nothing else. */
export type RowOf<C extends Columns> = {
  readonly [Each in C[number] as Each['name']]: Each extends { list: true } ? readonly number[] : ElementOf<Each>;
};
export type StoredFeature = RowOf<typeof FEATURE_COLUMNS>;
export type StoredExample = RowOf<typeof EXAMPLE_COLUMNS>;
export type StoredToken = RowOf<typeof VOCABULARY_COLUMNS>;

const count = z.number().int().nonnegative();

const featuresOfSae = z.object({
  /** Name that distinguishes it from the folder's other SAEs: the end of its path. */
  name: z.string().min(1),
  /** Directory within the folder: letters, digits, . _ - */
  folder: z.string().regex(/^(?!\.+$)[A-Za-z0-9._-]{1,200}$/),
  /** As given in the command. */
  path: z.string(),
  architecture: z.string(),
  transcoder: z.boolean().optional(),
  /** The input hook, and for a transcoder the output hook. */
  hook: z.string(),
  hook_out: z.string().optional(),
  d_in: count,
  d_sae: count.min(1),
  /** For topk: max features per token. */
  k: count.optional(),
  /** SHA-256 of cfg.json and weights. */
  sha256: z.string(),
  /** Positions with a norm above `multiple` × `median` do not count; all do if the key is missing. */
  norm_limit: z.object({ multiple: z.number().positive(), median: z.number().positive() }).optional(),
  /** Their number: the SAE's figures are over `tokens` − `left_out` positions. */
  left_out: count.optional(),
  /** Features with active_tokens > 0. */
  alive: count,
  /** Mean number of features with f > 0 per token. */
  l0: z.number().nonnegative(),
  /** Number of tokens that co-firing was measured on. */
  cofiring_tokens: count,
});

/** features.json */
export const featuresRecord = z.object({
  format: z.literal('sae-pipe features'),
  version: z.literal(1),
  /** Version of sae-pipe. */
  made_by: z.string(),
  model: z.object({ name: z.string(), fingerprint: z.string(), vocabulary: count }),
  corpus: z.string(),
  text_field: z.string(),
  encoding: z.string(),
  /** Which documents were read; all if the key is missing. */
  documents: documentsSchema.optional(),
  /** How conversations were read, if they were; positions of excluded roles do not count. */
  chat: chatSchema.optional(),
  /** SHA-256 of the contexts. */
  text_sha256: z.string(),
  /** Positions that count, except those that an SAE leaves out because of their norm. */
  tokens: count.min(1),
  contexts: count.min(1),
  /** Tokens per context. */
  context: count.min(1),
  prepend_bos: z.boolean(),
  /** Tokens other than a prepended BOS whose positions do not count. */
  exclude_special_tokens: z.array(count),
  settings: z.object({
    top_k: count.min(1),
    /** Tokens before and after the peak. */
    window: z.tuple([count, count]),
    device: z.string(),
    precision: z.string(),
    batch: count.min(1),
  }),
  saes: z.array(featuresOfSae).min(1),
});
export type FeaturesRecord = z.infer<typeof featuresRecord>;
export type FeaturesOfSae = z.infer<typeof featuresOfSae>;

/** Labels and notes for an SAE, which `explore` writes next to its features. */
export const LABELS_FILE = 'labels.jsonl';

/** Is this a file name that `features` writes into an SAE's directory? */
export const isSaeFile = (name: string): boolean => /^(features|examples)-\d{5}\.parquet$/.test(name);

import { z } from 'zod';
import { chatSchema, documentsSchema } from '../sae/training-record.js';

// What `features` writes: a folder of Parquet files and its record. docs/explanation/features.md says what each number is.

/** The record of the folder; it is written last, so a folder that has it is whole. */
export const FEATURES_FILE = 'features.json';
/** Every token of the model as it is shown. */
export const VOCABULARY_FILE = 'vocabulary.parquet';

/** Features of one file, the last file of an SAE excepted. */
export const FILE_FEATURES = 16_384;
/** Features of a row group of features-*.parquet, and of examples-*.parquet: what is read for one feature. */
export const FEATURE_GROUP = 1024;
export const EXAMPLE_GROUP = 64;

const numbered = (what: string, i: number) => `${what}-${String(i).padStart(5, '0')}.parquet`;

/** Names of the files that hold features [i · FILE_FEATURES, (i + 1) · FILE_FEATURES) of an SAE. */
export const featuresFile = (i: number): string => numbered('features', i);
export const examplesFile = (i: number): string => numbered('examples', i);

/** Number of files of either kind of an SAE. */
export const fileCount = (dSae: number): number => Math.ceil(dSae / FILE_FEATURES);

/** A column: its name, its element type, and whether a row has a list of those. */
interface Column {
  readonly name: string;
  readonly type: 'INT32' | 'INT64' | 'FLOAT' | 'DOUBLE' | 'STRING';
  readonly list?: true;
}

/** Columns of features-*.parquet: a row per feature, in order. */
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
  // Tokens at the peaks of band 0, strongest first, each once, 5 at most: `explore` lists and searches by them.
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

/** Columns of examples-*.parquet: rows by (feature, band, rank). */
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

/** Columns of vocabulary.parquet: a row per token, in order. */
export const VOCABULARY_COLUMNS = [
  { name: 'id', type: 'INT32' },
  { name: 'text', type: 'STRING' },
] as const satisfies readonly Column[];

export type Columns = readonly Column[];
type ElementOf<C extends Column> = C['type'] extends 'STRING' ? string : number;

/** A row, by the names of its columns. Lists are plain arrays: the writer takes no others. */
export type RowOf<C extends Columns> = {
  readonly [Each in C[number] as Each['name']]: Each extends { list: true } ? readonly number[] : ElementOf<Each>;
};
export type StoredFeature = RowOf<typeof FEATURE_COLUMNS>;
export type StoredExample = RowOf<typeof EXAMPLE_COLUMNS>;
export type StoredToken = RowOf<typeof VOCABULARY_COLUMNS>;

const count = z.number().int().nonnegative();

const featuresOfSae = z.object({
  /** Told apart from the others of the folder by it: the end of its path. */
  name: z.string().min(1),
  /** Directory in the folder: letters, digits, . _ - */
  folder: z.string().regex(/^(?!\.+$)[A-Za-z0-9._-]{1,200}$/),
  /** As the command had it. */
  path: z.string(),
  architecture: z.string(),
  transcoder: z.boolean().optional(),
  /** What f is computed from; and of a transcoder what it reconstructs. */
  hook: z.string(),
  hook_out: z.string().optional(),
  d_in: count,
  d_sae: count.min(1),
  /** Of topk: features of a token, at most. */
  k: count.optional(),
  /** Of cfg.json and weights. */
  sha256: z.string(),
  /** Positions with a norm above `multiple` × `median` do not count; all do where the key is missing. */
  norm_limit: z.object({ multiple: z.number().positive(), median: z.number().positive() }).optional(),
  /** How many these are: numbers of the SAE are over `tokens` − `left_out` positions. */
  left_out: count.optional(),
  /** Features with active_tokens > 0. */
  alive: count,
  /** Mean number of features with f > 0 per token. */
  l0: z.number().nonnegative(),
  /** Tokens that co-firing was measured on. */
  cofiring_tokens: count,
});

/** features.json */
export const featuresRecord = z.object({
  format: z.literal('sae-pipe features'),
  version: z.literal(1),
  /** Of the program. */
  made_by: z.string(),
  model: z.object({ name: z.string(), fingerprint: z.string(), vocabulary: count }),
  corpus: z.string(),
  text_field: z.string(),
  encoding: z.string(),
  /** Which documents were read; all where the key is missing. */
  documents: documentsSchema.optional(),
  /** How conversations were read, where it was those; positions of roles that are left out do not count. */
  chat: chatSchema.optional(),
  /** Of the contexts. */
  text_sha256: z.string(),
  /** Positions that count, but for those that an SAE leaves out for their norm. */
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

/** Labels and notes of an SAE, which `explore` writes next to its features. */
export const LABELS_FILE = 'labels.jsonl';

/** Is this the name of a file that `features` writes into the directory of an SAE? */
export const isSaeFile = (name: string): boolean => /^(features|examples)-\d{5}\.parquet$/.test(name);

import { z } from 'zod';
import { trainable } from '../../sae/registry.js';
import { corpusFormats, encodings, idsDTypes, parseNumber, precisions } from '../values.js';

// Flags shared by several commands.

/** A path, or a value that may be one (a model may also be a hub id): shells complete it as a path. */
export const directory = z.string().min(1).meta({ path: true });
/** One or more hook points: names, patterns with *, or comma-separated lists of both. */
export const hookList = z.array(z.string()).min(1).meta({ commas: true });
export const positive = z.number().int().positive();
export const natural = z.number().int().nonnegative();
export const threads = natural.max(1024).default(0).describe('threads per operator (0 = all cores)');
export const device = z.string().default('cpu').describe('where the graph runs: cpu, cuda, cuda:N or webgpu');
export const overwrite = z.boolean().default(false).describe('replace what an earlier run wrote to --out');
export const takeOver = z
  .boolean()
  .default(false)
  .describe(
    'take over --out from a command on another machine or in another container that you know has ended; the previous owner is printed first, and a command still running on this machine keeps its lock',
  );
export const seed = natural
  .max(2 ** 32 - 1)
  .default(0)
  .describe('seed of every random choice; the same seed gives the same bytes');
/** Part i of n of work that is divided among the tasks of an array (harvest/part.ts). */
export const shard = z
  .string()
  .regex(/^(auto|(auto|\d{1,6})\/[1-9]\d{0,5})$/, 'write i/n with i from 0, such as 0/4; auto/n; or auto');
export const MODEL =
  'model directory (config.json, weights in one .safetensors file or shards with their index, tokenizer files), or a Hugging Face hub model such as google/gemma-2-2b, read from the cache (HF_HUB_CACHE, HF_HOME) or downloaded into it';
/** Where a model comes from: the three flags of every command that loads one. */
export const modelSource = {
  model: directory.describe(MODEL),
  revision: z
    .string()
    .min(1)
    .optional()
    .describe('branch, tag or full commit hash of a hub model; only a commit never changes [default: main]'),
  offline: z.boolean().default(false).describe('use only what is cached, never the network (also: HF_HUB_OFFLINE=1)'),
};
/** The references that `saeDirectory` (sae/published/open.ts) accepts. */
export const SAE_REFERENCE =
  'SAE: its directory or file, OWNER/REPO[@REVISION]/PATH on the Hugging Face hub, or RELEASE:ID as SAELens names it (docs/how-to/published-saes.md)';
export const CORPUS =
  'a .jsonl, .ndjson, .json (JSON Lines), .csv, .tsv or .txt file (each also .gz or .zst), a .parquet or .arrow file, token ids in .npy or .bin, a directory of such files (also from save_to_disk), read recursively, or a hub data set, streamed: hf:OWNER/DATASET[/CONFIGURATION][:SPLIT]; - for standard input';
const SEVERAL = 'may be repeated, which mixes them (--corpus-weights)';
/** One corpus or several; a configuration file may give one without a list. */
export const corpus = z
  .preprocess((value) => (typeof value === 'string' ? [value] : value), z.array(directory).min(1))
  .describe(`text: ${CORPUS}; ${SEVERAL}`);
const textField = z
  .string()
  .min(1)
  .default('text')
  .describe('key or column of the text in .jsonl, .csv, .tsv and .parquet');
const encoding = z
  .enum(encodings)
  .default('utf-8')
  .describe('encoding of .txt, .csv, .tsv and JSON Lines files; utf-16: the byte order mark tells the order');
const chatField = z
  .string()
  .min(1)
  .optional()
  .describe(
    "read conversations instead of text: key or column of their messages in .jsonl and .parquet, rendered by the model's own chat template",
  );
/** How a corpus is read: flags of every command that reads one. */
export const readingFlags = {
  textField,
  chatField,
  corpusFormat: z
    .enum(corpusFormats)
    .optional()
    .describe('how --corpus - is read [default: as JSON Lines if it begins with {, else as the text of one document]'),
  encoding,
  idsField: z
    .string()
    .min(1)
    .optional()
    .describe(
      'key or column of token ids, which are read instead of text and used unchanged (.jsonl, .parquet, .arrow) [default: input_ids, if it exists and there is no text]',
    ),
  idsDtype: z
    .enum(idsDTypes)
    .optional()
    .describe(
      'element type of the token ids in .bin files; in directories, .bin and .npy are read only with this flag',
    ),
  corpusWeights: z
    .array(z.number().positive())
    .min(1)
    .optional()
    .describe('with several --corpus: their shares of the tokens, in order: 3,1 [default: equal]'),
  mixtureStop: z
    .enum(['all', 'first'])
    .optional()
    .describe(
      'when a mixture ends; all: with the last --corpus, the weight of an exhausted one going to the others; first: with the first exhausted one [default: all]',
    ),
  shuffleBuffer: positive
    .optional()
    .describe('shuffle documents with a buffer of this many, by --seed [default: documents keep their order]'),
  cacheCorpus: z
    .boolean()
    .default(false)
    .describe(
      'cache the parts of a hub data set that are read (in SAE_PIPE_CACHE, else ~/.cache/sae-pipe) and read them from there afterwards; --offline reads only this cache',
    ),
};
const EXCLUDE =
  'leave out special tokens written out by a text or a chat template (<eos>, <end_of_turn>, …), as BOS always is';
export const excludeSpecialTokens = z.boolean().default(false).meta({ also: 'skip-special' }).describe(EXCLUDE);
/** Undefined: the default of the model's family. */
export const prependBos = z
  .boolean()
  .optional()
  .describe('begin every document and every context with BOS [default: as models of the family expect; Gemma: yes]');
export const context = positive
  .min(2)
  .optional()
  .describe("tokens per context, BOS included [default: 1024, or the model's longest]");

/** Shared by train, sweep and eval. */
export const logDir = directory
  .optional()
  .describe(
    'directory for TensorBoard event files; a script turns them into W&B runs (docs/how-to/watching.md) [default: none]',
  );

/** Named as in dictionary_learning. */
export const maxActivationNormMultiple = z.number().min(1).optional();

/** Which documents of a corpus to read. */
export const documentFlags = {
  skipDocuments: natural
    .default(0)
    .describe('documents to skip at the beginning of the corpus (of each corpus, if there are several)'),
  maxDocuments: positive.optional().describe('maximum number of documents to read from there [default: all]'),
};
/** A share, as a fraction or a percentage. */
const holdout = z
  .string()
  .regex(/^(0?\.\d*[1-9]\d*|(?=.*[1-9])\d{1,2}(\.\d+)?%)$/, 'give a share, such as 1% or 0.01')
  .optional();
export const trainingHoldout = holdout.describe(
  'share of documents to hold out of training, for eval --holdout: 1%; chosen by a hash of the beginning of each document',
);
export const evaluationHoldout = holdout.describe(
  'read only the documents held out by the same --holdout of harvest or train: 1%',
);

export const precision = z
  .enum(precisions)
  .default('auto')
  .describe("element type of the model's matrix products; auto: the checkpoint's own on cuda, else float32");

export const architecture = z.enum(trainable).default(trainable[0]!);

/** Target mean number of active features per token, instead of a fixed λ. */
export const targetL0 = z.number().positive();

/** λ if --l1 is not given. */
export const USUAL_L1 = 4;

/** A count as digits, however it was written (5k); anything else is returned unchanged. */
export const plainCount = (text: string) => String(parseNumber(text) ?? text);

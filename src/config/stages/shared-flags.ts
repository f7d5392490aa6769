import { z } from 'zod';
import { trainable } from '../../sae/registry.js';
import { corpusFormats, encodings, idsDTypes, parseNumber, precisions } from '../values.js';

// What several commands take, said once.

/** A path, or what may be one (a model may also be an id of the hub): shells complete it. */
export const directory = z.string().min(1).meta({ path: true });
/** Hook points where several may be meant: names, patterns with *, and lists of both with commas. */
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
    'take --out over from a command on another machine or in another container, where you know that it has ended; it is named first, and one that runs on this machine is still refused',
  );
export const seed = natural
  .max(2 ** 32 - 1)
  .default(0)
  .describe('seed of every random choice; the same seed gives the same bytes');
/** Part i of n of what an array of tasks divides (harvest/part.ts). */
export const shard = z
  .string()
  .regex(/^(auto|(auto|\d{1,6})\/[1-9]\d{0,5})$/, 'write i/n with i from 0, such as 0/4; auto/n; or auto');
export const MODEL =
  'model directory (config.json, weights in one .safetensors or shards with their index, tokenizer files), or a model of the Hugging Face hub such as google/gemma-2-2b: taken from its cache (HF_HUB_CACHE, HF_HOME), else downloaded there';
/** Where a model comes from: the three flags of every command that opens one. */
export const modelSource = {
  model: directory.describe(MODEL),
  revision: z
    .string()
    .min(1)
    .optional()
    .describe('branch, tag or full commit hash of a model of the hub; a commit never moves [default: main]'),
  offline: z.boolean().default(false).describe('never ask the hub; use what its cache holds (also: HF_HUB_OFFLINE=1)'),
};
/** What `saeDirectory` (sae/published/open.ts) takes. */
export const SAE_REFERENCE =
  'SAE: its directory or file, OWNER/REPO[@REVISION]/PATH of the Hugging Face hub, or RELEASE:ID as SAELens names it (docs/how-to/published-saes.md)';
export const CORPUS =
  'text: a .jsonl, .ndjson, .json (JSON Lines), .csv, .tsv or .txt file (each also .gz or .zst), a .parquet or .arrow file, token ids in .npy or .bin, a directory of such files (those of save_to_disk, too), read with the directories in it, or a data set of the hub, read where it lies: hf:OWNER/DATASET[/CONFIGURATION][:SPLIT]; - for standard input';
const SEVERAL = 'may be repeated, which mixes them (--corpus-weights)';
/** One corpus or several; a configuration file may name one without a list. */
export const corpus = z
  .preprocess((value) => (typeof value === 'string' ? [value] : value), z.array(directory).min(1))
  .describe(`${CORPUS}; ${SEVERAL}`);
const textField = z
  .string()
  .min(1)
  .default('text')
  .describe('key or column that holds the text in .jsonl, .csv, .tsv and .parquet');
const encoding = z
  .enum(encodings)
  .default('utf-8')
  .describe('encoding of .txt, .csv, .tsv and JSON Lines files; utf-16: the byte order mark says which');
const chatField = z
  .string()
  .min(1)
  .optional()
  .describe(
    "read conversations instead of text: key or column of their messages in .jsonl and .parquet, rendered by the model's own chat template",
  );
/** How a corpus is read, of every command that reads one. */
export const readingFlags = {
  textField,
  chatField,
  corpusFormat: z
    .enum(corpusFormats)
    .optional()
    .describe(
      'how --corpus - is read [default: as JSON Lines where it begins with {, else as the text of one document]',
    ),
  encoding,
  idsField: z
    .string()
    .min(1)
    .optional()
    .describe(
      'key or column of token ids, which are read in the place of text and used as they are (.jsonl, .parquet, .arrow) [default: input_ids, where there is one and no text]',
    ),
  idsDtype: z
    .enum(idsDTypes)
    .optional()
    .describe('element type of token ids in .bin files, which are nothing else; in directories also reads .npy'),
  corpusWeights: z
    .array(z.number().positive())
    .min(1)
    .optional()
    .describe('shares of several --corpus in the tokens, in their order: 3,1 [default: equal]'),
  mixtureStop: z
    .enum(['all', 'first'])
    .optional()
    .describe(
      'when a mixture ends: with the last --corpus, the others sharing the weight of one that has ended, or with the first that ends [default: all]',
    ),
  shuffleBuffer: positive
    .optional()
    .describe('documents of a buffer from which the next one is drawn by --seed [default: documents keep their order]'),
  cacheCorpus: z
    .boolean()
    .default(false)
    .describe(
      'keep what is read of a data set of the hub on disk (SAE_PIPE_CACHE, else ~/.cache/sae-pipe) and read it there from then on; --offline reads nothing else',
    ),
};
const EXCLUDE =
  'leave special tokens that a text or a chat template has written out (<eos>, <end_of_turn>, …) out, as BOS always is';
export const excludeSpecialTokens = z.boolean().default(false).meta({ also: 'skip-special' }).describe(EXCLUDE);
/** Undefined: as the model's family has it. */
export const prependBos = z
  .boolean()
  .optional()
  .describe('begin every document and every context with BOS [default: as models of the family expect; Gemma: yes]');
export const context = positive
  .min(2)
  .optional()
  .describe("tokens per context, BOS included [default: 1024, or the model's longest]");

/** Of train, sweep and eval. */
export const logDir = directory
  .optional()
  .describe(
    'directory for TensorBoard event files, for TensorBoard and, by a script, W&B (docs/how-to/watching.md) [default: none]',
  );

/** As dictionary_learning names it. */
export const maxActivationNormMultiple = z.number().min(1).optional();

/** Which documents of a corpus are read. */
export const documentFlags = {
  skipDocuments: natural
    .default(0)
    .describe('documents at the beginning of the corpus (of each, where there are several) that are passed over'),
  maxDocuments: positive.optional().describe('documents that are read from there, at most [default: all]'),
};
/** A share in words. */
const holdout = z
  .string()
  .regex(/^(0?\.\d*[1-9]\d*|(?=.*[1-9])\d{1,2}(\.\d+)?%)$/, 'say a share, such as 1% or 0.01')
  .optional();
export const trainingHoldout = holdout.describe(
  'share of documents, told by their beginnings, that is left out, so that eval --holdout has text that training never sees: 1%',
);
export const evaluationHoldout = holdout.describe(
  'read only what harvest or train leaves out with the same --holdout: 1%',
);

export const precision = z
  .enum(precisions)
  .default('auto')
  .describe("element type of the model's matrix products; auto: the checkpoint's own on cuda, else float32");

export const architecture = z.enum(trainable).default(trainable[0]!);

/** Mean number of features per token that training aims at, where that is not left to λ. */
export const targetL0 = z.number().positive();

/** λ where --l1 is not given. */
export const USUAL_L1 = 4;

/** A count as digits, however it was written (5k); what is not a count stays as it is. */
export const plainCount = (text: string) => String(parseNumber(text) ?? text);

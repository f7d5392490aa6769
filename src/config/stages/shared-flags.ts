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
    'take over --out from a command on another machine or in another container that you know has ended; its owner is printed first, and a command running on this machine is still refused',
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
  'model directory (config.json, weights in one .safetensors file or shards with their index, tokenizer files), or a Hugging Face hub model such as google/gemma-2-2b, read from the cache (HF_HUB_CACHE, HF_HOME) or downloaded into it';
/** Where a model comes from: the three flags of every command that opens one. */
export const modelSource = {
  model: directory.describe(MODEL),
  revision: z
    .string()
    .min(1)
    .optional()
    .describe('branch, tag or full commit hash of a hub model; only a commit never changes [default: main]'),
  offline: z.boolean().default(false).describe('use only what is cached, never the network (also: HF_HUB_OFFLINE=1)'),
};
/** What `saeDirectory` (sae/published/open.ts) takes. */
export const SAE_REFERENCE =
  'SAE: its directory or file, OWNER/REPO[@REVISION]/PATH on the Hugging Face hub, or RELEASE:ID as SAELens names it (docs/how-to/published-saes.md)';
export const CORPUS =
  'a .jsonl, .ndjson, .json (JSON Lines), .csv, .tsv or .txt file (each also .gz or .zst), a .parquet or .arrow file, token ids in .npy or .bin, a directory of such files (also from save_to_disk), read recursively, or a hub data set, streamed: hf:OWNER/DATASET[/CONFIGURATION][:SPLIT]; - for standard input';
const SEVERAL = 'may be repeated, which mixes them (--corpus-weights)';
/** One corpus or several; a configuration file may name one without a list. */
export const corpus = z
  .preprocess((value) => (typeof value === 'string' ? [value] : value), z.array(directory).min(1))
  .describe(`text: ${CORPUS}; ${SEVERAL}`);
const textField = z
  .string()
  .min(1)
  .default('text')
  .describe('key or column that holds the text in .jsonl, .csv, .tsv and .parquet');
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
/** How a corpus is read, of every command that reads one. */
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
      'when a mixture ends; all: with the last --corpus, while the weight of one that has ended goes to the others; first: with the first that ends [default: all]',
    ),
  shuffleBuffer: positive
    .optional()
    .describe('shuffle documents with a buffer of this many, by --seed [default: documents keep their order]'),
  cacheCorpus: z
    .boolean()
    .default(false)
    .describe(
      'keep the parts of a hub data set that are read on disk (SAE_PIPE_CACHE, else ~/.cache/sae-pipe), and read them from there from then on; --offline reads nothing else',
    ),
};
const EXCLUDE =
  'leave out special tokens that a text or a chat template writes out (<eos>, <end_of_turn>, …), as BOS always is';
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
    'directory for TensorBoard event files; a script turns them into W&B runs (docs/how-to/watching.md) [default: none]',
  );

/** As dictionary_learning names it. */
export const maxActivationNormMultiple = z.number().min(1).optional();

/** Which documents of a corpus are read. */
export const documentFlags = {
  skipDocuments: natural
    .default(0)
    .describe('documents to skip at the beginning of the corpus (of each corpus, if there are several)'),
  maxDocuments: positive.optional().describe('maximum number of documents to read from there [default: all]'),
};
/** A share in words. */
const holdout = z
  .string()
  .regex(/^(0?\.\d*[1-9]\d*|(?=.*[1-9])\d{1,2}(\.\d+)?%)$/, 'give a share, such as 1% or 0.01')
  .optional();
export const trainingHoldout = holdout.describe(
  'share of documents to set aside, so that eval --holdout has text that training never sees: 1%; the beginning of a document decides',
);
export const evaluationHoldout = holdout.describe(
  'read only the documents that harvest or train sets aside with the same --holdout: 1%',
);

export const precision = z
  .enum(precisions)
  .default('auto')
  .describe("element type of the model's matrix products; auto: the checkpoint's own on cuda, else float32");

export const architecture = z.enum(trainable).default(trainable[0]!);

/** Mean number of features per token that training aims at, instead of a given λ. */
export const targetL0 = z.number().positive();

/** λ where --l1 is not given. */
export const USUAL_L1 = 4;

/** A count as digits, however it was written (5k); what is not a count stays as it is. */
export const plainCount = (text: string) => String(parseNumber(text) ?? text);

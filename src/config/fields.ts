import { z } from 'zod';
import { encodings, precisions } from './choices.js';

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
export type ModelSource = z.infer<z.ZodObject<typeof modelSource>>;
export const CORPUS =
  'text: a .jsonl, .ndjson, .json (JSON Lines) or .txt file (each also .gz or .zst), a .parquet file, or a directory of such files, read with the directories in it';
export const corpus = directory.describe(CORPUS);
export const textField = z
  .string()
  .min(1)
  .default('text')
  .describe('key or column that holds the text in .jsonl and .parquet');
export const encoding = z
  .enum(encodings)
  .default('utf-8')
  .describe('encoding of .txt and JSON Lines files; utf-16: the byte order mark says which');
const EXCLUDE = 'leave special tokens that a text has written out (<eos>, <pad>, …) out, as BOS always is';
export const excludeSpecialTokens = z.boolean().default(false).describe(EXCLUDE);
export const context = positive
  .min(2)
  .optional()
  .describe("tokens per context, BOS included [default: 1024, or the model's longest]");

export const precision = z
  .enum(precisions)
  .default('auto')
  .describe("element type of the model's matrix products; auto: the checkpoint's own on cuda, else float32");

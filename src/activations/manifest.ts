import { join } from 'node:path';
import { z } from 'zod';
import { givenCommand } from '../config/flags.js';
import { activationDTypes, encodings, precisions } from '../config/values.js';
import { textPositionSchema } from '../corpus/text-position.js';
import { exists } from '../disk/input-file.js';
import { readJournal } from '../disk/journal.js';
import { checkJson, readJsonFile } from '../disk/json.js';
import { writeAside } from '../disk/output-file.js';
import { nearPath, withNear } from '../errors/nearest.js';
import { Refusal } from '../errors/refusal.js';
import { chatSchema, corporaReadSchema, documentsSchema } from '../sae/training-record.js';

export const FORMAT = 'sae-pipe-activations';
export const VERSION = 1;

export type ActivationDType = (typeof activationDTypes)[number];

/** Bytes of one activation entry on disk. */
const ACTIVATION_BYTES: Record<ActivationDType, number> = { float16: 2, bfloat16: 2, float32: 4 };
/** Bytes of token, context and pos next to a row's activation. */
const POSITION_BYTES = 12;

/** Bytes of a row on disk, and in memory as Rows hold it. */
export function rowBytes({ d_in, dtype }: Pick<Manifest, 'd_in' | 'dtype'>): number {
  return d_in * ACTIVATION_BYTES[dtype] + POSITION_BYTES;
}

const count = z.number().int().nonnegative();
/** A plain file name: manifests are data, and must not lead a reader out of their directory. */
const fileName = z.string().regex(/^[\w-]+\.arrow$/);
const journalFile = z.string().regex(/^journal-[0-9a-f]{16}\.log$/);
const statisticsFile = z.string().regex(/^[\w-]+\.safetensors$/);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

/** Max parts of a harvest: as many as --shard takes. */
const MOST_PARTS = 999_999;

/** `bytes` is the size of the file; absent in older stores. */
const shardEntry = z.object({
  file: fileName,
  rows: count.positive(),
  bytes: count.positive().optional(),
  sha256,
  window: count,
});

/** A finished window: its contexts and what resuming needs. */
const windowEntry = z.object({
  file: fileName,
  first: count,
  contexts: count,
  rows: count,
  norm_sum: z.number(),
  left_out: count.optional(),
  sha256,
});

/**
 * What the listed shards of the unfinished window were cut from. Its rows decide the permutation and the cut, so with
 * other rows (another --tokens, another text) these shards are useless.
 */
const pendingWindow = z.object({
  window: count,
  rows: count.positive(),
  contexts: count.positive(),
  /** Of the contexts as they will be stored. */
  contexts_sha256: sha256,
});

const statisticsEntry = z.object({ file: statisticsFile, rows: count.positive(), sha256 });

export const manifestSchema = z.object({
  format: z.literal(FORMAT),
  version: z.literal(VERSION),
  model: z.object({ name: z.string(), fingerprint: z.string() }),
  hook: z.string(),
  d_in: count.positive(),
  dtype: z.enum(activationDTypes),
  /** Data type of the model's matrix products; float32 by default. */
  precision: z.enum(precisions).exclude(['auto']).optional(),
  /** Tokens per context, BOS included: an SAE that records less than 2 could not be opened again. */
  context: count.min(2),
  /** −1 where the model has none. */
  bos_token_id: z.number().int().min(-1),
  /** Do documents and contexts begin with BOS? They do by default. */
  prepend_bos: z.boolean().default(true),
  /** Tokens other than BOS at which there are no rows; none if not given. */
  exclude_special_tokens: z.array(count).optional(),
  /** Positions with a norm above the first times the second have no row; none is left out if not given. */
  max_activation_norm_multiple: z.number().min(1).optional(),
  median_activation_norm: z.number().positive().optional(),
  corpus: z.string(),
  text_field: z.string(),
  /** Encoding of .txt and JSON Lines; utf-8 by default. */
  encoding: z.enum(encodings).optional(),
  documents: documentsSchema.optional(),
  /** How conversations were read, if the corpus had any; roles that are left out have no rows. */
  chat: chatSchema.optional(),
  /** The corpus when the harvest began: number and size of all files, and the names of the first. */
  corpus_files: z
    .object({ count, bytes: count, first: z.array(z.object({ file: z.string(), bytes: count })) })
    .optional(),
  /** What was read of each corpus for the finished windows, as counted by corpus/read-tally.ts. */
  text_read: corporaReadSchema.optional(),
  /**
   * While a harvest of a hub data set is incomplete: the text's identity, and its position after the finished windows.
   */
  text_identity: sha256.optional(),
  text_position: textPositionSchema.optional(),
  seed: count,
  /** Contexts per group, which takes one or several forward passes. */
  batch: count.positive(),
  rows_per_shard: count.positive(),
  /** Groups per window; rows are permuted within windows. */
  window_batches: count.positive(),
  /**
   * Which part of a harvest this is, where it is divided (--shard): of its windows, those whose number leaves `index`
   * when it is divided by `of`. Windows in this manifest are counted by the part, contexts by the whole text;
   * `rows_wanted` is of the whole. `whole` is there once it is complete: all windows, their contexts, and a hash over
   * the hashes of these.
   */
  part: z
    .object({
      index: count,
      of: count.min(2).max(MOST_PARTS),
      whole: z.object({ windows: count.positive(), contexts: count, sha256 }).optional(),
    })
    .refine(({ index, of }) => index < of, 'index must be less than of')
    .optional(),
  /** Rows requested; `rows` once complete. */
  rows_wanted: count,
  rows: count,
  /** Mean |x| over all rows, before rounding to dtype; null until there are rows. */
  mean_norm: z.number().nullable(),
  complete: z.boolean(),
  shards: z.array(shardEntry),
  contexts: z.array(windowEntry),
  /** Absent in older stores. */
  pending: pendingWindow.nullable().optional(),
  /** Rows of the window in progress when the harvest was interrupted, in order of arrival. */
  partial: z
    .object({
      contexts: count,
      /** Of the contexts as they would be stored; detects another corpus. */
      contexts_sha256: sha256,
      rows: count,
      norm_sum: z.number(),
      left_out: count.optional(),
      files: z.array(z.object({ file: fileName, rows: count.positive(), sha256 })),
    })
    .nullable(),
  /** Sums over all rows (statistics.ts), written with every window; absent in older stores. */
  statistics: statisticsEntry.optional(),
  /** The command that resumes the harvest while it is incomplete; absent if its text was a pipe. */
  command: givenCommand.optional(),
  /** While the harvest is incomplete: the file with what was added since this was written (growing-manifest.ts). */
  journal: journalFile.optional(),
});

/** manifest.json of an activation store: its contents and progress. */
export type Manifest = z.infer<typeof manifestSchema>;

const additionSchema = z.union([
  z.object({ shard: shardEntry, pending: pendingWindow }),
  z.object({
    window: windowEntry,
    text_read: manifestSchema.shape.text_read,
    text_position: manifestSchema.shape.text_position,
    statistics: manifestSchema.shape.statistics,
  }),
]);

/** What a shard adds to the manifest, or a window whose shards are all listed. */
export type Addition = z.infer<typeof additionSchema>;

/** Lists shards and windows, in their order. */
export function extendManifest(manifest: Manifest, additions: readonly Addition[]): void {
  for (const addition of additions) {
    if ('shard' in addition) {
      manifest.shards.push(addition.shard);
      manifest.pending = addition.pending;
      continue;
    }
    const { window, text_read, text_position, statistics } = addition;
    manifest.contexts.push(window);
    if (text_read) manifest.text_read = text_read;
    if (manifest.text_identity !== undefined) manifest.text_position = text_position;
    manifest.statistics = statistics;
    manifest.partial = null;
    manifest.pending = null;
  }
  if (!additions.some((addition) => 'window' in addition)) return;
  manifest.rows = manifest.contexts.reduce((sum, { rows }) => sum + rows, 0);
  manifest.mean_norm = manifest.contexts.reduce((sum, { norm_sum }) => sum + norm_sum, 0) / manifest.rows;
}

/** The corpora that a store's text is of: one, or those of a mixture. */
export function corporaIn({ corpus, documents }: Pick<Manifest, 'corpus' | 'documents'>): string[] {
  return documents?.mixture?.sources.map((source) => source.corpus) ?? [corpus];
}

/** Rows with a norm above `multiple` × `median` are left out. */
export interface NormLimit {
  readonly multiple: number;
  /** Of the norms of a sample of all rows. */
  readonly median: number;
}

/** What a store's or a stream's rows keep within, by their norms; undefined if none was left out. */
export function normLimitIn({
  max_activation_norm_multiple: multiple,
  median_activation_norm: median,
}: Pick<Manifest, 'max_activation_norm_multiple' | 'median_activation_norm'>): NormLimit | undefined {
  return multiple === undefined || median === undefined ? undefined : { multiple, median };
}

export const MANIFEST_FILE = 'manifest.json';

export function manifestPath(directory: string): string {
  return join(directory, MANIFEST_FILE);
}

const AGAIN = 'Harvest the store again.';

/** Name of a journal. */
export const journalName = (id: string) => `journal-${id}.log`;

/** Is it the name of a journal? */
export const isJournal = (name: string) => journalFile.safeParse(name).success;

/** Retries after a harvest has rewritten the manifest. */
const READ_ATTEMPTS = 100;

/**
 * The manifest of a store: manifest.json, plus the journal of a store that is being written.
 *
 * @throws Refusal if the directory is not a store, or the manifest is damaged or of another version
 */
export async function readManifest(directory: string): Promise<Manifest> {
  let manifest = await readManifestFile(directory);
  for (let attempt = 0; attempt < READ_ATTEMPTS && !manifest.complete && manifest.journal !== undefined; attempt++) {
    const { journal } = manifest;
    const path = join(directory, journal);
    const added = await readJournal(path, AGAIN);
    if (added !== null) {
      extendManifest(
        manifest,
        added.map((addition) => checkJson(additionSchema, addition, path, AGAIN)),
      );
      return manifest;
    }
    // Nothing was added yet, or all of it is in a newer manifest.
    manifest = await readManifestFile(directory);
    if (manifest.journal === journal) return manifest;
  }
  return manifest;
}

async function readManifestFile(directory: string): Promise<Manifest> {
  const path = manifestPath(directory);
  const found = await exists(directory);
  const near = found ? undefined : await nearPath(directory);
  const json = await readJsonFile(
    path,
    [
      `${directory} is not an activation store (${found ? 'it has no manifest.json' : 'it does not exist'}).`,
      withNear(near, 'Name a directory that `sae-pipe harvest` wrote, OUT/<hook>.'),
      'activations/not-a-store',
    ],
    AGAIN,
  );
  const { format, version } = (json ?? {}) as { format?: unknown; version?: unknown };
  if (format === FORMAT && version !== VERSION) {
    throw new Refusal(
      `${path} is of format version ${JSON.stringify(version)}, but this version of sae-pipe reads version ${VERSION}.`,
      AGAIN,
      'activations/other-version',
    );
  }
  return checkJson(manifestSchema, json, path, AGAIN);
}

/** @returns its bytes */
export async function writeManifest(directory: string, manifest: Manifest): Promise<number> {
  const text = `${JSON.stringify(manifest, null, 1)}\n`;
  await writeAside(manifestPath(directory), text);
  return Buffer.byteLength(text);
}

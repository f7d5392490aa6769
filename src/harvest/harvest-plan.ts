import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  FORMAT,
  isJournal,
  MANIFEST_FILE,
  type Manifest,
  readManifest,
  rowBytes,
  VERSION,
  writeManifest,
} from '../activations/manifest.js';
import { rowsExpected } from '../activations/part-rows.js';
import { ORDER_BYTES } from '../activations/pool.js';
import { SHARDS_BESIDE, type ShardPress } from '../activations/shard-press.js';
import { checkShardFiles } from '../activations/store.js';
import { partInWords } from '../activations/store-parts.js';
import { StoreWriter } from '../activations/store-writer.js';
import type { HarvestConfig } from '../config/stages/harvest.js';
import { type LeftOut, LOOK_AHEAD, leftOutTokens, rowsPerContext } from '../corpus/contexts.js';
import { documentChoice } from '../corpus/document-choice.js';
import { corpusSettings, filesOfAll } from '../corpus/documents.js';
import type { CorpusFile } from '../corpus/file-kind.js';
import { corpusName } from '../corpus/mixture.js';
import { KNOWN_BYTES, MOST_KNOWN } from '../corpus/read-tally.js';
import { SHUFFLED_BYTES } from '../corpus/shuffled.js';
import { Text, type TokenizerFacts } from '../corpus/text.js';
import { exists } from '../disk/input-file.js';
import { requireStillOwner } from '../disk/lock.js';
import { type ClaimOptions, claimOutputDirectory } from '../disk/output-directory.js';
import { writtenAside } from '../disk/output-file.js';
import { formatBytes, type MemoryParts, PROGRAM_MEMORY, THREAD_MEMORY } from '../disk/space.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import { findHook, type Hook } from '../lm/hooks.js';
import { chooseBos, chooseContext, chooseDType, choosePrecision, type WithDType } from '../lm/pass.js';
import { weightMemory } from '../onnx/graph.js';
import { compareFingerprints } from '../safetensors/fingerprint.js';
import { activationMemory, harvestContexts, harvestGraph } from './forward-pass.js';
import { harvestCommand } from './harvest-command.js';
import { checkNormLimit } from './norm-limit.js';
import { checkEnoughWindows, partOf } from './part.js';
import { pressThreads, runsAhead } from './pass-thread.js';
import { textIdentity } from './text-identity.js';

/** The plan of a harvest, wherever its rows go; no weight has been read. */
export interface HarvestPlan {
  readonly checkpoint: Checkpoint;
  /** The tokenized corpus; its thread ends when it is closed. */
  readonly text: Text;
  readonly hooks: readonly Hook[];
  /** Tokens per context, BOS included. */
  readonly context: number;
  /** Groups of --batch contexts per window. */
  readonly windowBatches: number;
  /** The settings, with the element type of activations resolved. */
  readonly config: WithDType<HarvestConfig>;
  /** Initial manifests of the stores of all hooks. */
  readonly manifests: readonly Manifest[];
}

/**
 * @param model the model's directory
 * @param windowBytes max memory for the windows of all hooks together
 * @throws Refusal if model, hooks or context do not fit each other
 */
export async function planHarvest(
  asked: HarvestConfig,
  model: string,
  windowBytes: number = WINDOW_BYTES,
): Promise<HarvestPlan> {
  const checkpoint = await openCheckpoint(model);
  const config = { ...asked, dtype: chooseDType(asked.dtype, checkpoint) };
  const context = chooseContext(config.context, checkpoint.config);
  const hooks = [...new Set(config.hook)].map((name) => findHook(name, checkpoint.config));
  checkNormLimit(config, hooks);
  const { bosTokenId, vocabulary, special } = checkpoint.config;
  const bos = chooseBos(config.prependBos, checkpoint.config);
  const files = await filesOfAll(config);
  const text = await Text.open({
    ...{ model, expected: { bosTokenId, vocabulary, special, bos }, context },
    ...corpusSettings(config),
    documents: documentChoice(config, false),
  });
  try {
    const contextRows = rowsPerContext(context, text.facts.prependBos);
    const windowBatches = batchesPerWindow(config, hooks, contextRows, windowBytes);
    const plan = { checkpoint, text, hooks, context, windowBatches, config };
    // A part lacks the contexts of the others, which continuing a text needs.
    const identity = partOf(config.shard) ? undefined : await textIdentity(config, files, text, model);
    const manifests = hooks.map((hook) => ({ ...newManifest(files, plan, hook), text_identity: identity }));
    checkEnoughWindows(manifests[0]!);
    return { ...plan, manifests };
  } catch (error) {
    await text.close({ say() {} });
    throw error;
  }
}

/** Max memory for the windows of all hooks together; a window of a million rows of 2048 float16 takes it all. */
const WINDOW_BYTES = 4 * 2 ** 30;
/** Max bytes of a shard: a file is one buffer, and Node's hashing takes less than 2 GiB. */
const SHARD_BYTES = 2 ** 30;
/**
 * Groups of --batch contexts per window: about --window-rows rows, limited by the memory for the windows of all hooks
 * together.
 *
 * @param contextRows rows of a context
 * @throws UsageRefusal if a shard would be larger than SHARD_BYTES
 */
export function batchesPerWindow(
  config: WithDType<Pick<HarvestConfig, 'rowsPerShard' | 'windowRows' | 'batch'>>,
  hooks: readonly Hook[],
  contextRows: number,
  windowBytes: number = WINDOW_BYTES,
): number {
  const bytes = hooks.map(({ width }) => rowBytes({ d_in: width, dtype: config.dtype }));
  const most = Math.floor(SHARD_BYTES / Math.max(...bytes));
  if (config.rowsPerShard > most) {
    throw new UsageRefusal(
      `--rows-per-shard ${config.rowsPerShard} makes shards of more than ${formatBytes(SHARD_BYTES)}.`,
      `Use at most ${most}.`,
      'harvest/shards-too-large',
    );
  }
  const fit = windowBytes / bytes.reduce((sum, b) => sum + b, 0);
  return Math.max(1, Math.round(Math.min(config.windowRows, fit) / (config.batch * contextRows)));
}

/** Special tokens to leave out, if requested; a prepended BOS always is. */
function specialTokens({ special, bosTokenId, prependBos }: TokenizerFacts): number[] {
  return [...special.keys()].filter((id) => !prependBos || id !== bosTokenId).sort((a, b) => a - b);
}

/** Tokens at which a store has no rows. */
export function leftOutOf(manifest: Manifest): LeftOut {
  const { prepend_bos, bos_token_id: bos, exclude_special_tokens: others } = manifest;
  return leftOutTokens(prepend_bos ? bos : null, others);
}

/** Which documents are read, if not all. */
function chosen(config: WithDType<HarvestConfig>): Pick<Manifest, 'documents'> {
  const documents = documentChoice(config, false);
  return documents ? { documents } : {};
}

/** The initial manifest of a store. */
function newManifest(
  files: readonly CorpusFile[],
  { checkpoint, text, context, windowBatches, config }: Omit<HarvestPlan, 'manifests'>,
  hook: Hook,
): Manifest {
  const part = partOf(config.shard);
  return {
    format: FORMAT,
    version: VERSION,
    model: { name: checkpoint.name, fingerprint: checkpoint.fingerprint },
    hook: hook.name,
    d_in: hook.width,
    dtype: config.dtype,
    precision: choosePrecision(config.precision, config.device, checkpoint).precision,
    context,
    bos_token_id: text.facts.prependBos ? text.facts.bosTokenId : checkpoint.config.bosTokenId,
    prepend_bos: text.facts.prependBos,
    ...(config.excludeSpecialTokens && { exclude_special_tokens: specialTokens(text.facts) }),
    ...(config.maxActivationNormMultiple !== undefined && {
      max_activation_norm_multiple: config.maxActivationNormMultiple,
      // Determined before the first row; keys are in the schema's order.
      median_activation_norm: undefined,
    }),
    corpus: corpusName(config),
    text_field: config.textField,
    encoding: config.encoding,
    ...chosen(config),
    ...(text.facts.chat && { chat: { ...text.facts.chat, roles: text.facts.chat.roles?.slice() } }),
    corpus_files: filesListed(files),
    // Known with the first window; keys are in the schema's order.
    text_read: [],
    text_identity: undefined,
    text_position: undefined,
    seed: config.seed,
    batch: config.batch,
    rows_per_shard: config.rowsPerShard,
    window_batches: windowBatches,
    ...(part && { part }),
    rows_wanted: config.tokens,
    rows: 0,
    mean_norm: null,
    complete: false,
    shards: [],
    contexts: [],
    pending: null,
    partial: null,
    command: harvestCommand(config),
  };
}

/** Max files that a manifest lists by name: it must stay small. */
const FILES_LISTED = 1000;

function filesListed(files: readonly CorpusFile[]): Manifest['corpus_files'] {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const first = files.slice(0, FILES_LISTED).map((file) => ({ file: file.name, bytes: file.bytes }));
  return { count: files.length, bytes, first };
}

/** Bytes that a harvest has yet to write: listed shards of an unfinished window are kept, or deleted first. */
export function bytesToCome(manifest: Manifest): number {
  const there = manifest.shards.reduce((sum, { rows }) => sum + rows, 0);
  return Math.max(0, rowsExpected(manifest) - there) * rowBytes(manifest);
}

const ours = (name: string) =>
  name === MANIFEST_FILE ||
  isJournal(name) ||
  /^(shard|contexts|partial)-\d+\.arrow$|^statistics-\d+\.safetensors$/.test(name);

/** The requested element type; by default that of the stores to resume. */
export async function dtypeOfStores(
  directories: readonly string[],
  { dtype, resume }: Pick<HarvestConfig, 'dtype' | 'resume'>,
): Promise<HarvestConfig['dtype']> {
  if (dtype !== 'auto' || !resume) return dtype;
  for (const directory of directories) {
    if (await exists(join(directory, MANIFEST_FILE))) return (await readManifest(directory)).dtype;
  }
  return dtype;
}

/** What a store's directory may contain, and how it is claimed. */
export function storeClaimOptions(config: HarvestConfig, say: (line: string) => void = () => {}): ClaimOptions {
  const { overwrite, resume, model, corpus } = config;
  const takeOver = { unchecked: config.takeOver, say };
  return {
    overwrite,
    resume,
    ours,
    resumeFlag: '--resume',
    result: MANIFEST_FILE,
    inputs: [model, ...corpus],
    takeOver,
  };
}

/** Settings that an unfinished store and the command that resumes it must share. */
const FIXED = [
  'hook',
  'd_in',
  'dtype',
  'precision',
  'context',
  'prepend_bos',
  'exclude_special_tokens',
  'max_activation_norm_multiple',
  'corpus',
  'text_field',
  'encoding',
  'documents',
  'chat',
  'seed',
  'batch',
  'rows_per_shard',
  'window_batches',
] as const;

/**
 * The manifest of the store in `directory`, or null if there is none; changes nothing. What it lists is checked by
 * size, its contents are checked when they are read.
 */
export async function resumable(directory: string, fresh: Manifest): Promise<Manifest | null> {
  const names = await readdir(directory).catch((): string[] => []);
  if (!names.includes(MANIFEST_FILE)) return null;
  const found = await readManifest(directory);
  const differs = (key: string, before: unknown, now: unknown) => {
    throw new Refusal(
      `${directory} was begun with ${key} ${JSON.stringify(before)}, but this command has ${JSON.stringify(now)}.`,
      'Resume with the same settings, or start again with --overwrite.',
      'harvest/other-settings',
    );
  };
  const now = { ...fresh, encoding: fresh.encoding ?? 'utf-8' };
  const before = { ...found, precision: found.precision ?? 'float32', encoding: found.encoding ?? 'utf-8' };
  const model = compareFingerprints(found.model.fingerprint, fresh.model.fingerprint);
  if (model === 'incomparable') {
    throw new Refusal(
      `${directory} records its model by a fingerprint that was made by another version of sae-pipe and cannot be compared.`,
      'Start again with --overwrite.',
      'harvest/other-fingerprint',
    );
  }
  if (model === 'different') differs('model', found.model, fresh.model);
  for (const key of FIXED)
    if (JSON.stringify(before[key]) !== JSON.stringify(now[key])) differs(key, before[key], now[key]);
  checkSamePart(found, fresh, differs);
  await checkShardFiles(directory, found);
  if (!found.complete && found.command !== fresh.command) found.command = fresh.command;
  if (found.text_identity !== fresh.text_identity && !found.complete) {
    // Reading it from the beginning may still show that it is the same text.
    found.text_identity = fresh.text_identity;
    found.text_position = undefined;
  }
  if (found.rows_wanted === fresh.rows_wanted) return found;
  checkMoreRows(directory, found, fresh.rows_wanted);
  return { ...found, rows_wanted: fresh.rows_wanted };
}

function checkSamePart(
  found: Manifest,
  fresh: Manifest,
  differs: (key: string, before: unknown, now: unknown) => void,
): void {
  const shardOf = ({ part }: Manifest) => (part ? partInWords(part) : '0/1');
  if (shardOf(found) !== shardOf(fresh)) differs('--shard', shardOf(found), shardOf(fresh));
}

/**
 * A harvest whose corpus ended early may be finished with the rows there are; existing rows are never removed.
 *
 * @throws Refusal if that many rows cannot be reached by resuming
 */
function checkMoreRows(directory: string, found: Manifest, wanted: number): void {
  const kept = found.part && found.complete ? found.rows_wanted : found.rows + (found.partial?.rows ?? 0);
  if (!found.complete && wanted >= kept) return;
  const is = found.part ? 'is part of a harvest that is complete with' : 'is complete with';
  throw new Refusal(
    `${directory} ${found.complete ? is : 'contains'} ${kept} rows, but --tokens is ${wanted}.`,
    found.complete
      ? `Use --tokens ${kept}, or harvest again with --overwrite.`
      : `Use at least --tokens ${kept}, or start again with --overwrite.`,
    'harvest/fewer-tokens',
  );
}

/**
 * Removes files of a store that its manifest does not list: those of a kill between writing and listing, or between
 * unlisting and deleting.
 */
export async function removeUnlisted(
  directory: string,
  { shards, contexts, partial, statistics, journal }: Manifest,
): Promise<void> {
  await requireStillOwner(directory);
  const filesListed = new Set(
    [...shards, ...contexts, ...(partial?.files ?? []), ...(statistics ? [statistics] : [])].map(({ file }) => file),
  );
  if (journal !== undefined) filesListed.add(journal);
  for (const name of await readdir(directory)) {
    const unlisted = name !== MANIFEST_FILE && !filesListed.has(name) && ours(writtenAside(name) ?? name);
    if (unlisted) await rm(join(directory, name), { recursive: true });
  }
}

/** A writer for a new store, or for the unfinished one to resume. */
export async function openWriter(
  directory: string,
  fresh: Manifest,
  found: Manifest | null,
  config: HarvestConfig,
  press?: ShardPress,
): Promise<StoreWriter> {
  await claimOutputDirectory(directory, storeClaimOptions(config));
  // Also without a manifest: --overwrite deletes it first, and a kill may have come right after.
  await removeUnlisted(directory, found ?? fresh);
  if (!found) await writeManifest(directory, fresh);
  return new StoreWriter(directory, found ?? fresh, press);
}

/** Shards in memory while one thread writes them: rows, their file, and garbage not yet collected. */
const SHARDS = 4;
/** Margin of the estimate of a pass's values, which a test keeps within a factor of two. */
const PASSES = 2;
/** Weights while a session opens: some exist both as stored and as cast. */
const OPENING = 1.5;
/** Memory for opening a tokenizer, in addition to the size of tokenizer.json. */
const TOKENIZER = 20;

/** The parts of a plan that determine its memory. */
type HarvestShape = Pick<HarvestPlan, 'checkpoint' | 'hooks' | 'context' | 'windowBatches'> & {
  readonly config: WithDType<
    Pick<HarvestConfig, 'tokens' | 'batch' | 'device' | 'precision' | 'rowsPerShard' | 'corpus' | 'shuffleBuffer'>
  >;
  /** Rows of each hook. */
  readonly manifests: readonly Pick<Manifest, 'd_in' | 'dtype' | 'prepend_bos' | 'chat'>[];
};

/**
 * Peak memory of a harvest, in bytes; less for a model on another device.
 *
 * @param ahead whether a window is made while the previous one is written
 */
export async function harvestMemory(
  { checkpoint, hooks, context, windowBatches, manifests, config }: HarvestShape,
  ahead = runsAhead(config.device),
): Promise<MemoryParts> {
  const { batch, dtype, tokens, rowsPerShard, device } = config;
  const atOnce = Math.min(batch, harvestContexts(checkpoint.config, hooks, context, device));
  const placement = choosePrecision(config.precision, config.device, checkpoint);
  const { bytes: weights } = weightMemory(harvestGraph(checkpoint, hooks, context, dtype, placement));
  const row = manifests.reduce((sum, manifest) => sum + rowBytes(manifest), 0);
  const contextRows = rowsPerContext(context, manifests[0]!.prepend_bos);
  const rows = Math.min(tokens, windowBatches * batch * contextRows);
  // For each context its tokens and their documents, four bytes each; a context may have fewer rows than positions.
  const contexts = windowBatches * batch * context * 8;
  // Most tokens of a conversation may belong to other roles.
  const few = manifests[0]!.chat?.roles !== undefined;
  const widest = Math.max(...manifests.map((manifest) => rowBytes(manifest)));
  const { size } = await stat(join(checkpoint.directory, 'tokenizer.json'));
  const shuffling = config.shuffleBuffer === undefined ? 0 : config.corpus.length * SHUFFLED_BYTES;
  return {
    model: OPENING * weights,
    text:
      THREAD_MEMORY +
      TOKENIZER * size +
      (few ? 10 * LOOK_AHEAD : 4 * Math.min(2 * tokens, LOOK_AHEAD)) +
      KNOWN_BYTES * Math.min(tokens, MOST_KNOWN) +
      shuffling,
    pass: PASSES * activationMemory(checkpoint.config, hooks, atOnce, context),
    // Memory of a window that is made ahead is reused, and may be larger than its rows.
    window: (ahead ? 2.5 : 1) * rows * (row + ORDER_BYTES) + (few ? 1.25 * contexts : Math.min(contexts, 16 * tokens)),
    shards: (ahead ? pressThreads(device) + SHARDS_BESIDE : SHARDS) * Math.min(rows, rowsPerShard) * widest,
    program: PROGRAM_MEMORY,
  };
}

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  ACTIVATION_BYTES,
  FORMAT,
  type Manifest,
  readManifest,
  VERSION,
  writeManifest,
} from '../activations/manifest.js';
import { StoreWriter } from '../activations/store-writer.js';
import { Window } from '../activations/window.js';
import { Interrupted, Refusal, UsageRefusal } from '../config/refusal.js';
import type { HarvestConfig } from '../config/stages.js';
import { batches, type Context, countActivations, packContexts } from '../corpus/contexts.js';
import { corpusFiles, readDocuments } from '../corpus/documents.js';
import { checkEnoughText, tooFewTokens } from '../corpus/enough-text.js';
import { openTokenizer, type Tokenizer } from '../corpus/tokenizer.js';
import { checkFreeSpace, formatBytes } from '../disk/free-space.js';
import { claimOutputDirectory } from '../disk/output-directory.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import { chooseContext } from '../lm/context-length.js';
import { findHook, type Hook } from '../lm/hooks.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { openForwardPass } from './forward-pass.js';

/** Memory for the windows of all hooks together, at most; a window of a million rows of 2048 float16 takes it all. */
const WINDOW_BYTES = 4 * 2 ** 30;
/** A shard's column of activations is one buffer, and Node's are limited. */
const SHARD_BYTES = 2 * 2 ** 30 - 1;

/**
 * Streams a corpus through the model and writes one activation store a hook, OUT/<hook>/.
 *
 * @returns the stores' directories, in the order of config.hook
 */
export async function harvest(config: HarvestConfig, progress: Progress, stop: StopRequest): Promise<string[]> {
  const checkpoint = await openCheckpoint(config.model);
  const context = chooseContext(config.context, checkpoint.config);
  const hooks = [...new Set(config.hook)].map((name) => findHook(name, checkpoint.config));
  await corpusFiles(config.corpus);
  const tokenizer = await openTokenizer(config.model);
  const contexts = () => packContexts(readDocuments(config.corpus, config.textField), tokenizer, context);
  const windowBatches = batchesPerWindow(config, hooks, context);
  const manifests = hooks.map((hook) => newManifest(config, checkpoint, tokenizer, hook, context, windowBatches));
  const directories = hooks.map((hook) => join(config.out, hook.name));

  for (const directory of directories) await refuseOccupied(directory, config);
  if (!config.resume) {
    const rowBytes = manifests.reduce((sum, m) => sum + m.d_in * ACTIVATION_BYTES[m.dtype] + 12, 0);
    await checkFreeSpace(config.out, config.tokens * rowBytes);
    const count = (c: Context) => countActivations(c, tokenizer.bosTokenId);
    await checkEnoughText(contexts(), count, config.tokens, config.corpus, progress);
  }
  const pass = await openForwardPass(checkpoint, hooks, context, config);
  try {
    const writers: StoreWriter[] = [];
    for (const [i, directory] of directories.entries())
      writers.push(await openWriter(directory, manifests[i]!, config));
    await run(config, contexts(), pass, writers, tokenizer.bosTokenId, progress, stop);
  } finally {
    await pass.release();
  }
  return directories;
}

async function run(
  config: HarvestConfig,
  contexts: AsyncGenerator<Context>,
  pass: Awaited<ReturnType<typeof openForwardPass>>,
  writers: readonly StoreWriter[],
  bos: number,
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const perWindow = writers[0]!.manifest.window_batches;
  // Windows are the same for every hook; a kill may have left one store a window ahead of another.
  const windowsDone = Math.min(...writers.map((writer) => writer.windowsDone));
  const done = writers[0]!.manifest.contexts.slice(0, windowsDone);
  let rows = done.reduce((sum, entry) => sum + entry.rows, 0);
  let seen = done.reduce((sum, entry) => sum + entry.contexts, 0);
  let index = windowsDone;
  let windows = writers.map(({ manifest }) => new Window(index, manifest.d_in, manifest.dtype));

  progress.begin('harvesting', config.tokens, 'token');
  progress.update(rows);
  for (let i = 0; i < seen; i++) await contexts.next();
  let passes = 0;
  const restored = await restorePartial(writers, windows, contexts, windowsDone);
  rows += restored.rows;
  seen += restored.contexts;
  passes = Math.ceil(restored.contexts / config.batch);

  const groups = batches(contexts, config.batch);
  while (rows < config.tokens) {
    if (stop.signal) {
      if (windows[0]!.rows > 0) for (const [i, writer] of writers.entries()) await writer.writePartial(windows[i]!);
      progress.end();
      throw new Interrupted(
        stop.signal,
        `${rows} of ${config.tokens} rows are kept in ${config.out}; go on with the same command and --resume.`,
      );
    }
    const group = await groups.next();
    if (group.done) throw tooFewTokens(config.corpus, rows, config.tokens);
    const result = await pass.run(group.value, bos, config.tokens - rows);
    for (const [i, window] of windows.entries()) {
      window.contexts.push(...result.contexts);
      window.add(result.rows[i]!, result.norms[i]!);
    }
    rows += result.count;
    passes++;
    progress.update(rows);
    if (passes === perWindow || rows === config.tokens) {
      for (const [i, writer] of writers.entries()) {
        if (writer.windowsDone === index) await writer.writeWindow(windows[i]!);
      }
      index++;
      passes = 0;
      windows = writers.map(({ manifest }) => new Window(index, manifest.d_in, manifest.dtype));
    }
  }
  progress.end();
}

/** Takes up an interrupted window where every store kept its rows. */
async function restorePartial(
  writers: readonly StoreWriter[],
  windows: readonly Window[],
  contexts: AsyncGenerator<Context>,
  windowsDone: number,
): Promise<{ rows: number; contexts: number }> {
  const none = { rows: 0, contexts: 0 };
  const kept = writers[0]!.manifest.partial;
  const same = writers.every(
    ({ manifest, windowsDone: d }) => d === windowsDone && manifest.partial?.contexts === kept?.contexts,
  );
  if (!kept || !same) return none;
  for (const [i, writer] of writers.entries()) {
    if (!(await writer.restorePartial(windows[i]!))) {
      throw new Refusal(
        'The rows kept from the interrupted window were changed or removed.',
        'Harvest again with --overwrite.',
      );
    }
  }
  for (let i = 0; i < kept.contexts; i++) {
    const { value } = await contexts.next();
    if (value) for (const window of windows) window.contexts.push(value as Context);
  }
  return { rows: kept.rows, contexts: kept.contexts };
}

/**
 * Forward passes a window: about --window-rows rows, and no more than the windows of all hooks together may take.
 *
 * @throws UsageRefusal when a shard would be larger than one Arrow buffer may be
 */
function batchesPerWindow(config: HarvestConfig, hooks: readonly Hook[], context: number): number {
  const rowBytes = hooks.map(({ width }) => width * ACTIVATION_BYTES[config.dtype]);
  const most = Math.floor(SHARD_BYTES / Math.max(...rowBytes));
  if (config.rowsPerShard > most) {
    throw new UsageRefusal(
      `--rows-per-shard ${config.rowsPerShard} makes shards of more than ${formatBytes(SHARD_BYTES)}.`,
      `Use at most ${most}.`,
    );
  }
  const fit = WINDOW_BYTES / rowBytes.reduce((sum, bytes) => sum + bytes, 0);
  return Math.max(1, Math.round(Math.min(config.windowRows, fit) / (config.batch * (context - 1))));
}

function newManifest(
  config: HarvestConfig,
  checkpoint: Checkpoint,
  tokenizer: Tokenizer,
  hook: Hook,
  context: number,
  windowBatches: number,
): Manifest {
  return {
    format: FORMAT,
    version: VERSION,
    model: { name: checkpoint.name, fingerprint: checkpoint.fingerprint },
    hook: hook.name,
    d_in: hook.width,
    dtype: config.dtype,
    context,
    bos_token_id: tokenizer.bosTokenId,
    prepend_bos: true,
    corpus: config.corpus,
    text_field: config.textField,
    seed: config.seed,
    batch: config.batch,
    rows_per_shard: config.rowsPerShard,
    window_batches: windowBatches,
    rows_wanted: config.tokens,
    rows: 0,
    mean_norm: null,
    complete: false,
    shards: [],
    contexts: [],
    partial: null,
  };
}

const ours = (name: string) => /^(manifest\.json|(shard|contexts)-\d+\.arrow|partial\.arrow)$/.test(name);

/** Says early, before any work, that a store is in the way. */
async function refuseOccupied(directory: string, config: HarvestConfig): Promise<void> {
  const names = await readdir(directory).catch((): string[] => []);
  if (names.length > 0 && !config.overwrite && !config.resume) {
    await claimOutputDirectory(directory, { overwrite: false, ours, resumeFlag: '--resume' });
  }
}

/** A writer on a new store, or on the unfinished one that is to be resumed. */
async function openWriter(directory: string, fresh: Manifest, config: HarvestConfig): Promise<StoreWriter> {
  const names = await readdir(directory).catch((): string[] => []);
  const resume = config.resume && names.includes('manifest.json');
  await claimOutputDirectory(directory, { overwrite: config.overwrite, resume, ours, resumeFlag: '--resume' });
  if (!resume) {
    await writeManifest(directory, fresh);
    return new StoreWriter(directory, fresh);
  }
  const found = await readManifest(directory);
  for (const key of [
    'model',
    'hook',
    'd_in',
    'dtype',
    'context',
    'corpus',
    'text_field',
    'seed',
    'batch',
    'rows_per_shard',
    'window_batches',
    'rows_wanted',
  ] as const) {
    const [before, now] = [JSON.stringify(found[key]), JSON.stringify(fresh[key])];
    if (before !== now) {
      throw new Refusal(
        `${directory} was begun with ${key} ${before}, and this command says ${now}.`,
        'Resume with the same settings, or start again with --overwrite.',
      );
    }
  }
  return new StoreWriter(directory, found);
}

import { encodeContexts } from '../activations/arrow-files.js';
import { type StoreWriter, sha256 } from '../activations/store-writer.js';
import type { Window } from '../activations/window.js';
import { Interrupted, Refusal } from '../config/refusal.js';
import type { HarvestConfig } from '../config/stages.js';
import { batches, type Context } from '../corpus/contexts.js';
import { tooFewTokens } from '../corpus/enough-text.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { throwIfStopped } from '../progress/unless-stopped.js';
import { assembleWindows, atWindow } from './assemble.js';
import type { ForwardPass } from './forward-pass.js';

/** What a stop of a resumed harvest comes to before its first forward pass. */
export const NOTHING_ADDED = 'nothing had been added yet; go on with the same command and --resume.';

/**
 * Hands each full window to the writers of all hooks. Goes on where the stores stopped: at the first window that is not
 * whole in every store, with the rows kept from an interruption.
 */
export async function harvestWindows(
  config: HarvestConfig,
  contexts: AsyncGenerator<Context>,
  pass: ForwardPass,
  writers: readonly StoreWriter[],
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const manifests = writers.map(({ manifest }) => manifest);
  // Windows are the same for every hook; a kill may have left one store a window ahead of another.
  const done = Math.min(...writers.map((writer) => writer.windowsDone));
  const stored = manifests[0]!.contexts.slice(0, done).reduce((sum, entry) => sum + entry.rows, 0);

  progress.begin('harvesting', config.tokens, 'token');
  progress.update(stored);
  await skipDone(writers[0]!, done, contexts, config, stop);
  const { index, windows } = atWindow(done, stored, manifests);
  await restorePartial(writers, windows, contexts, config, stop);
  const kept = windows[0]!;
  const begun = kept.contexts.length % config.batch;
  const groups = (kept.contexts.length - begun) / config.batch;
  const standing = { index, windows, rows: stored + kept.rows, groups };

  const rest = batches(contexts, config.batch, config.batch - begun);
  for await (const { windows, rows, end } of assembleWindows(standing, manifests, rest, pass, progress, stop)) {
    for (const [i, writer] of writers.entries()) {
      const window = windows[i]!;
      // A kill may have left some of the stores with the window under way.
      if (writer.windowsDone !== window.index) continue;
      if (end === 'full') await writer.writeWindow(window);
      else if (window.rows > 0) await writer.writePartial(window);
    }
    if (end === 'stop') {
      const kept = `${rows} of ${config.tokens} rows are kept in ${config.out}`;
      throw new Interrupted(stop.signal!, `${kept}; go on with the same command and --resume.`);
    }
    if (end === 'text') throw tooFewTokens(config.corpus, rows, config.tokens, 'with --resume');
  }
  for (const writer of writers) await writer.complete();
  progress.end();
}

/** Reads past the contexts of finished windows, and makes sure that they are the ones whose rows are stored. */
async function skipDone(
  { manifest }: StoreWriter,
  windows: number,
  contexts: AsyncGenerator<Context>,
  config: HarvestConfig,
  stop: StopRequest,
): Promise<void> {
  for (const entry of manifest.contexts.slice(0, windows)) {
    const read = await take(contexts, entry.contexts, stop);
    if (sha256(encodeContexts(read)) !== entry.sha256) throw otherText(config);
  }
}

/** Takes up an interrupted window where every store kept its rows; else it is done again from its beginning. */
async function restorePartial(
  writers: readonly StoreWriter[],
  windows: readonly Window[],
  contexts: AsyncGenerator<Context>,
  config: HarvestConfig,
  stop: StopRequest,
): Promise<void> {
  const index = windows[0]!.index;
  const kept = writers[0]!.manifest.partial;
  const agreed = writers.every(
    ({ manifest, windowsDone }) => windowsDone === index && manifest.partial?.contexts === kept?.contexts,
  );
  if (!kept || !agreed) return;
  const pieces = [];
  for (const writer of writers) pieces.push(await writer.readPartial());
  if (pieces.includes(null)) return;
  const read = await take(contexts, kept.contexts, stop);
  if (sha256(encodeContexts(read)) !== kept.contexts_sha256) throw otherText(config);
  for (const [i, window] of windows.entries()) {
    window.restore(pieces[i]!, writers[i]!.manifest.partial!.norm_sum);
    window.contexts.push(...read);
  }
}

async function take(contexts: AsyncGenerator<Context>, count: number, stop: StopRequest): Promise<Context[]> {
  const taken: Context[] = [];
  while (taken.length < count) {
    throwIfStopped(stop, NOTHING_ADDED);
    const { value, done } = await contexts.next();
    if (done) break;
    taken.push(value);
  }
  return taken;
}

function otherText(config: HarvestConfig): Refusal {
  return new Refusal(
    `The text of ${config.corpus} is not the one that this harvest began with.`,
    'Put the text back, or start again with --overwrite.',
  );
}

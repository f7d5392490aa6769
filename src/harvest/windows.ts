import type { StoreWriter } from '../activations/store-writer.js';
import type { Window } from '../activations/window.js';
import { Interrupted } from '../config/refusal.js';
import type { HarvestConfig } from '../config/stages.js';
import { batches, type Context } from '../corpus/contexts.js';
import { tooFewTokens } from '../corpus/enough-text.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { assembleWindows, atWindow } from './assemble.js';
import type { ForwardPass } from './forward-pass.js';
import { checkFinished, readRecorded, take } from './recorded-text.js';

/**
 * Hands each full window to the writers of all hooks. Goes on where the stores stopped: at the first window that is not
 * whole in every store, with the rows kept from an interruption.
 *
 * @param contexts of the corpus from its beginning; closed at the end
 */
export async function harvestWindows(
  config: HarvestConfig,
  contexts: AsyncGenerator<Context>,
  pass: ForwardPass,
  writers: readonly StoreWriter[],
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  try {
    await harvestFrom(config, contexts, pass, writers, progress, stop);
  } finally {
    // A harvest rarely ends with its text, and whoever reads it holds files and threads.
    await contexts.return(undefined);
  }
}

async function harvestFrom(
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
  const text = await readRecorded(manifests, done, contexts, config.corpus, stop);
  const { index, windows } = atWindow(done, stored, manifests);
  await restorePartial(writers, windows, text, stop);
  const kept = windows[0]!;
  const begun = kept.contexts.length % config.batch;
  const groups = (kept.contexts.length - begun) / config.batch;
  const standing = { index, windows, rows: stored + kept.rows, groups };

  const rest = batches(text, config.batch, config.batch - begun);
  for await (const { windows, rows, end } of assembleWindows(standing, manifests, rest, pass, progress, stop)) {
    if (end === 'full') {
      // A store may be whole windows ahead: its hook was harvested before the others were added.
      for (const { manifest } of writers) {
        checkFinished(manifest, windows[0]!.index, windows[0]!.contexts, config.corpus);
      }
    }
    for (const [i, writer] of writers.entries()) {
      const window = windows[i]!;
      // A kill may have left some of the stores with the window under way.
      if (writer.windowsDone !== window.index) continue;
      if (end === 'full') await writer.writeWindow(window);
      else if (window.rows > 0) await writer.writePartial(window);
    }
    if (end === 'stop') {
      const kept = `${rows} of ${config.tokens} rows are kept in ${config.out}`;
      throw new Interrupted(stop.signal!, `${kept}; continue with the same command and --resume.`);
    }
    if (end === 'text') throw tooFewTokens(config.corpus, rows, config.tokens, 'with --resume');
  }
  for (const writer of writers) await writer.complete();
  progress.end();
}

/** Takes up an interrupted window where every store kept its rows; else it is done again from its beginning. */
async function restorePartial(
  writers: readonly StoreWriter[],
  windows: readonly Window[],
  text: AsyncGenerator<Context>,
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
  const read = await take(text, kept.contexts, stop);
  for (const [i, window] of windows.entries()) {
    window.restore(pieces[i]!, writers[i]!.manifest.partial!.norm_sum);
    window.contexts.push(...read);
  }
}

import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Manifest } from '../activations/manifest.js';
import type { StoreWriter } from '../activations/store-writer.js';
import type { HarvestConfig } from '../config/stages.js';
import { type Context, countActivations } from '../corpus/contexts.js';
import { openCorpus } from '../corpus/documents.js';
import { checkEnoughText } from '../corpus/enough-text.js';
import { checkFreeSpace } from '../disk/free-space.js';
import { asOwner } from '../disk/output-directory.js';
import { modelDirectory } from '../hub/model-directory.js';
import { parseGemmaConfig } from '../lm/gemma-config.js';
import { memoryLine } from '../progress/memory-line.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { NOTHING_BEGUN, throwIfStopped, untilStopped } from '../progress/unless-stopped.js';
import { openForwardPass } from './forward-pass.js';
import { harvestMemory } from './memory-bound.js';
import { type Plan, planHarvest } from './plan.js';
import { NOTHING_ADDED, readRecorded } from './recorded-text.js';
import { bytesToCome, claimOptions, leftOutOf, openWriter, removeUnlisted, resumable } from './store-plan.js';
import { harvestWindows } from './windows.js';

/**
 * Streams a corpus through the model and writes one activation store a hook, OUT/<hook>/. Everything that can be known
 * before is checked first; nothing on disk changes until the model is open, but that the stores have an owner.
 *
 * @returns the stores' directories, in the order of config.hook
 */
export async function harvest(config: HarvestConfig, progress: Progress, stop: StopRequest): Promise<string[]> {
  const names = [...new Set(config.hook)];
  const directories = names.map((name) => join(config.out, name));
  // Before the model, which may have to be downloaded.
  await openCorpus(config, progress);
  const claim = claimOptions(config, (line) => progress.say(line));
  await asOwner(directories, claim, () => harvestInto(directories, config, progress, stop));
  return directories;
}

async function harvestInto(
  directories: readonly string[],
  config: HarvestConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const model = await modelDirectory(config, progress, stop, parseGemmaConfig);
  const plan = await planHarvest(config, model);
  try {
    await harvestPlan(plan, directories, config, progress, stop);
  } finally {
    await plan.text.close(progress);
  }
}

async function harvestPlan(
  plan: Plan,
  directories: readonly string[],
  config: HarvestConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const { checkpoint, hooks, context, manifests, text } = plan;
  const found: (Manifest | null)[] = [];
  for (const [i, directory] of directories.entries()) {
    found.push(config.resume ? await resumable(directory, manifests[i]!) : null);
  }
  if (found.every((manifest) => manifest?.complete)) {
    for (const [i, directory] of directories.entries()) await removeUnlisted(directory, found[i]!);
    await checkBeginning(found as Manifest[], plan, config, progress, stop);
    return;
  }
  const bytes = manifests.map((manifest, i) => bytesToCome(found[i] ?? manifest));
  await checkFreeSpace(
    config.out,
    bytes.reduce((sum, more) => sum + more, 0),
  );
  if (found.every((manifest) => manifest === null)) {
    const count = (c: Context) => countActivations(c, leftOutOf(manifests[0]!));
    await checkEnoughText(untilStopped(text.ahead(), stop), count, config.tokens, config.corpus, progress, stop);
    text.remark(progress);
  }
  // Opening it may take minutes.
  throwIfStopped(stop, found.some((manifest) => manifest !== null) ? NOTHING_ADDED : NOTHING_BEGUN);
  const pass = await openForwardPass(checkpoint, hooks, context, config);
  try {
    const writers: StoreWriter[] = [];
    for (const [i, directory] of directories.entries()) {
      writers.push(await openWriter(directory, manifests[i]!, found[i]!, config));
    }
    progress.say(memoryLine(await harvestMemory(plan, config)));
    await harvestWindows(config, untilStopped(text.contexts(), stop), pass, writers, progress, stop);
  } finally {
    await pass.release();
  }
}

/**
 * Is the text of finished stores still the one that is named? Their first window is compared; reading all of it would
 * take as long as tokenizing it. Files of other names or sizes are said: what was added matters to no row.
 */
async function checkBeginning(
  finished: readonly Manifest[],
  { text, manifests }: Plan,
  { corpus, out }: HarvestConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const contexts = untilStopped(text.contexts(), stop);
  try {
    await readRecorded(finished, 0, contexts, corpus, stop);
  } finally {
    await contexts.return(undefined);
  }
  const now = manifests[0]!.corpus_files;
  if (finished.some(({ corpus_files: then }) => then && !isDeepStrictEqual(then, now))) {
    progress.say(
      `${corpus} has other files, or files of other sizes, than when ${out} was harvested, which is complete.`,
    );
  }
}

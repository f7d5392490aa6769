import type { ExploreConfig } from '../config/stages/features.js';
import { type DirectoryLock, lockDirectory, type TakeOver } from '../disk/lock.js';
import { Interrupted, Refusal, UsageRefusal } from '../errors/refusal.js';
import { stopAsked } from '../http/local-server.js';
import { modelDirectory } from '../hub/model-source.js';
import { parseModelConfig } from '../lm/families/registry.js';
import type { Terminal } from '../progress/progress.js';
import { checkOutputFile, writeOutputFile } from '../report/page-file.js';
import { type ExploredFolder, exploreFolder } from './explorer.js';
import { EXPLORE_POLICY_HEADER, pageFiles, selfContainedPage } from './page.js';
import { serveFeatures } from './site.js';
import { embeddedData, writeStaticPages } from './static-pages.js';
import { ThreadedTrial } from './text-trial.js';
import { ThreadedSteering } from './threaded-steering.js';

/**
 * Serves the pages of a folder of features until the user stops it, or writes them to files.
 *
 * @throws Refusal if the folder is not readable, or the port or the output not available; Interrupted in the end
 */
export async function explore(config: ExploreConfig, { progress, stop, print }: Terminal): Promise<void> {
  checkTogether(config);
  const takeOver = { unchecked: config.takeOver, say: (line: string) => progress.say(line) };
  if (config.html !== undefined) await checkOutputFile(config.html, [config.folder]);
  const explorer = await exploreFolder(config.folder, progress, config.sae);
  if (config.static !== undefined) {
    const pages = { out: config.static, overwrite: config.overwrite, takeOver };
    print(await writeStaticPages(explorer, pages, progress, stop));
  } else if (config.html !== undefined) print(await writeOnePage(explorer, config));
  else await serveUntilStopped(explorer, config, { progress, stop, print }, takeOver);
}

/** @throws UsageRefusal if flags contradict each other */
function checkTogether({ static: directory, html, features, model }: ExploreConfig): void {
  const refuse = (what: string, remedy: string): never => {
    throw new UsageRefusal(what, remedy, 'config/wrong-together');
  };
  if (directory !== undefined && html !== undefined)
    refuse('--static and --html exclude each other.', 'Give one of them.');
  if (html !== undefined && features === undefined)
    refuse('--html requires --features.', 'Choose the features: --features 1,17,42.');
  if (html === undefined && features !== undefined)
    refuse('--features requires --html.', 'Add --html FILE, or omit --features.');
  if (model !== undefined && (directory ?? html) !== undefined)
    refuse('Static pages cannot run a model.', 'Omit --model.');
}

async function writeOnePage(explorer: ExploredFolder, { html, features = [], overwrite }: ExploreConfig) {
  const [name, ...others] = explorer.saes.keys();
  if (others.length > 0) {
    throw new UsageRefusal(
      `The folder has ${others.length + 1} SAEs, and it is ambiguous which of them --features refers to.`,
      `Choose one: --sae ${name}.`,
      'config/wrong-together',
    );
  }
  const { d_sae: count } = explorer.saes.get(name!)!.record;
  const wrong = features.find((feature) => feature >= count);
  if (wrong !== undefined)
    throw new Refusal(`${name} has no feature ${wrong}.`, `It has 0 to ${count - 1}.`, 'explore/no-feature');
  const data = await embeddedData(explorer, { [name!]: [...new Set(features)] });
  return writeOutputFile(html!, selfContainedPage(explorer.title, data), overwrite);
}

async function serveUntilStopped(
  explorer: ExploredFolder,
  config: ExploreConfig,
  { progress, stop, print }: Terminal,
  takeOver: TakeOver,
): Promise<never> {
  const owned = await own(explorer.directory, takeOver);
  const readOnly = owned instanceof Refusal ? `Labels cannot be saved: ${owned.message}` : null;
  if (readOnly !== null) progress.say(readOnly);
  try {
    const { trial, steering } = await modelParts(explorer, config, { progress, stop });
    const files = new Map(pageFiles(explorer.title).map(({ path, ...file }) => [path, file]));
    const server = await serveFeatures(
      { explorer, files, readOnly, trial, steering },
      EXPLORE_POLICY_HEADER,
      config.port,
    );
    try {
      print(server.url);
      throw new Interrupted(await stopAsked(stop), 'the pages are closed; labels have been saved.');
    } finally {
      await server.close();
      await trial?.close();
      await steering?.close();
      for (const { labels } of explorer.saes.values()) await labels.close();
    }
  } finally {
    if (!(owned instanceof Refusal)) await owned.release();
  }
}

/** The services that run and steer texts, if there is a model: nothing is opened yet, but a hub model is downloaded. */
async function modelParts(
  explorer: ExploredFolder,
  { model, revision, offline, device, precision, threads }: ExploreConfig,
  { progress, stop }: Pick<Terminal, 'progress' | 'stop'>,
): Promise<{ trial: ThreadedTrial | null; steering: ThreadedSteering | null }> {
  if (model === undefined) return { trial: null, steering: null };
  const directory = await modelDirectory({ model, revision, offline }, progress, stop, parseModelConfig);
  const settings = { directory, device, precision, threads };
  return { trial: new ThreadedTrial(explorer, settings), steering: new ThreadedSteering(explorer, settings) };
}

/**
 * The lock of the folder, required for writing labels; or why it is not available, in which case everything else works.
 */
async function own(directory: string, takeOver: TakeOver): Promise<DirectoryLock | Refusal> {
  try {
    return await lockDirectory(directory, takeOver);
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

import { isDeepStrictEqual } from 'node:util';
import { encodeContexts } from '../activations/arrow-rows.js';
import type { Manifest } from '../activations/manifest.js';
import { rowsExpected } from '../activations/part-rows.js';
import { type StoreWriter, sha256, type Window } from '../activations/store-writer.js';
import type { HarvestConfig } from '../config/stages/harvest.js';
import { batches, type Context, checkEnoughText, countActivations, tooFewTokens } from '../corpus/contexts.js';
import { openCorpus } from '../corpus/documents.js';
import { corpusName } from '../corpus/mixture.js';
import { readInWords } from '../corpus/read-tally.js';
import { asOwner } from '../disk/output-directory.js';
import { checkFreeSpace, memoryLine } from '../disk/space.js';
import { Interrupted, Refusal } from '../errors/refusal.js';
import { modelDirectory } from '../hub/model-source.js';
import { parseModelConfig } from '../lm/families/registry.js';
import { sayTf32 } from '../onnx/tf32.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { NOTHING_BEGUN, throwIfStopped, untilStopped } from '../progress/stop.js';
import { type Assembled, assembleWindows, atWindow } from './assemble.js';
import { continuedText } from './continued-text.js';
import { Course } from './course.js';
import type { ForwardPass } from './forward-pass.js';
import {
  bytesToCome,
  dtypeOfStores,
  type HarvestPlan,
  harvestMemory,
  leftOutOf,
  openWriter,
  planHarvest,
  removeUnlisted,
  resumable,
  storeClaimOptions,
} from './harvest-plan.js';
import { withMedian } from './norm-limit.js';
import { checkNeighbours, partOf, storeDirectory } from './part.js';
import { openHarvestPass, openPress } from './pass-thread.js';
import { unreadFiles } from './unread-files.js';

/**
 * Streams a corpus through the model and writes one activation store per hook, OUT/<hook>/, or that of a part below it.
 * Everything that can be checked in advance is checked first; nothing on disk changes until the model is open, except
 * that the stores are locked.
 *
 * @returns the stores' directories, in the order of config.hook
 */
export async function harvest(config: HarvestConfig, progress: Progress, stop: StopRequest): Promise<string[]> {
  const names = [...new Set(config.hook)];
  const part = partOf(config.shard);
  for (const name of names) await checkNeighbours(config.out, name, part);
  const directories = names.map((name) => storeDirectory(config.out, name, part));
  // Before the model, which may have to be downloaded.
  await openCorpus(config, progress);
  const claim = storeClaimOptions(config, (line) => progress.say(line));
  await asOwner(directories, claim, () => harvestInto(directories, config, progress, stop));
  return directories;
}

async function harvestInto(
  directories: readonly string[],
  config: HarvestConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const model = await modelDirectory(config, progress, stop, parseModelConfig);
  const dtype = await dtypeOfStores(directories, config);
  const plan = await planHarvest({ ...config, dtype }, model);
  try {
    await harvestPlan(plan, directories, config, progress, stop);
  } finally {
    await plan.text.close(progress);
  }
}

async function harvestPlan(
  plan: HarvestPlan,
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
    await checkEnoughText(untilStopped(text.ahead(), stop), count, config.tokens, corpusName(config), progress, stop);
    text.remark(progress);
  }
  // Opening it may take minutes.
  throwIfStopped(stop, found.some((manifest) => manifest !== null) ? NOTHING_ADDED : NOTHING_BEGUN);
  const pass = await openHarvestPass(checkpoint, hooks, context, plan.config);
  const press = openPress(plan.config.device);
  try {
    const fresh = manifests.map((manifest, i) => found[i] ?? manifest);
    const [one] = fresh;
    if (one!.max_activation_norm_multiple !== undefined && one!.median_activation_norm === undefined) {
      fresh[0] = await withMedian(one!, pass, leftOutOf(one!), untilStopped(text.contexts(), stop));
    }
    const writers: StoreWriter[] = [];
    for (const [i, directory] of directories.entries()) {
      writers.push(await openWriter(directory, fresh[i]!, found[i]!, config, press));
    }
    progress.say(memoryLine(await harvestMemory(plan)));
    if (manifests[0]!.precision === 'float32') sayTf32(progress.say, config.device);
    const done = Math.min(...writers.map(({ windowsDone }) => windowsDone));
    const behind = writers.findIndex(({ windowsDone }) => windowsDone === done);
    const all = writers.map(({ manifest }) => manifest);
    const continued = await continuedText(directories[behind]!, all, behind, stop, NOTHING_ADDED);
    if (continued) progress.say(`${corpusName(config)} is continued at its document ${continued.position.number + 1}.`);
    const contexts = continued ? text.contextsFrom(continued) : text.contexts();
    const whole = { contexts: untilStopped(contexts, stop), passed: continued ? done : 0 };
    await harvestWindows(config, whole, pass, writers, progress, stop);
  } finally {
    await pass.release();
    await press.close();
  }
}

/**
 * Checks that the text of finished stores is still the given one. Only their first window is compared: reading all of
 * it would take as long as tokenizing it. Files of other names or sizes are reported: added text affects no row.
 */
async function checkBeginning(
  finished: readonly Manifest[],
  { text, manifests }: HarvestPlan,
  config: HarvestConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const corpus = corpusName(config);
  const contexts = untilStopped(text.contexts(), stop);
  try {
    await readRecorded(finished, 0, { contexts, passed: 0 }, corpus, new Course(finished[0]!), stop);
  } finally {
    await contexts.return(undefined);
  }
  const now = manifests[0]!.corpus_files;
  if (finished.some(({ corpus_files: then }) => then && !isDeepStrictEqual(then, now))) {
    progress.say(
      `${corpus} has different files, or files of different sizes, than when ${config.out} was harvested; that harvest is complete.`,
    );
  }
}

/** The text of a harvest, from the start of one of its windows. */
interface HarvestText {
  readonly contexts: AsyncGenerator<Context>;
  /** Windows before it. */
  readonly passed: number;
}

/**
 * Passes each full window to the writers of all hooks. Continues where the stores stopped: at the first window that is
 * not complete in every store, with the rows saved at an interruption.
 *
 * @param text closed at the end
 */
export async function harvestWindows(
  config: HarvestConfig,
  text: HarvestText,
  pass: ForwardPass,
  writers: readonly StoreWriter[],
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  try {
    await harvestFrom(config, text, pass, writers, progress, stop);
  } finally {
    // A harvest rarely ends with its text, whose reader has open files and threads.
    await text.contexts.return(undefined);
  }
}

async function harvestFrom(
  config: HarvestConfig,
  from: HarvestText,
  pass: ForwardPass,
  writers: readonly StoreWriter[],
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const manifests = writers.map(({ manifest }) => manifest);
  // Windows are the same for every hook; a kill may have left one store a window ahead of another.
  const done = Math.min(...writers.map((writer) => writer.windowsDone));
  const stored = manifests[0]!.contexts.slice(0, done).reduce((sum, entry) => sum + entry.rows, 0);
  const course = new Course(manifests[0]!);

  progress.begin('harvesting', rowsExpected(manifests[0]!), 'token');
  progress.update(stored);
  const text = await readRecorded(manifests, done, from, corpusName(config), course, stop);
  const { index, windows } = atWindow(done, stored, manifests);
  await restorePartial(writers, windows, text, stop);
  const kept = windows[0]!;
  const begun = kept.contexts.length % config.batch;
  const whole = (kept.contexts.length - begun) / config.batch;
  // Groups without a row may have filled the previous window: it ends with the one that was begun.
  const groups = begun > 0 ? Math.min(whole, manifests[0]!.window_batches - 1) : whole;
  const standing = { index, windows, rows: stored + kept.rows, groups, course };
  course.checkRows(standing.rows);

  let last: Context | undefined;
  const rest = batches(text, config.batch, config.batch - begun);
  for await (const { windows, rows, end } of assembleWindows(standing, manifests, rest, pass, progress, stop)) {
    if (end === 'full') {
      // A store may be whole windows ahead: its hook was harvested before the others were added.
      for (const { manifest } of writers) {
        checkFinished(manifest, windows[0]!.index, windows[0]!.contexts, corpusName(config));
      }
    }
    last = windows[0]!.contexts.at(-1);
    await writeWindows(writers, { windows, end }, pass.ahead === true);
    if (end === 'stop') {
      const kept = `${rows} of ${rowsExpected(manifests[0]!)} rows are kept in ${config.out}`;
      throw new Interrupted(stop.signal!, `${kept}; continue with the same command and --resume.`);
    }
    if (end === 'text') throw tooFewTokens(corpusName(config), rows + course.others, config.tokens, 'with --resume');
  }
  for (const writer of writers) await writer.complete(course.whole);
  progress.end();
  for (const line of readInWords(writers[0]!.manifest.text_read ?? [])) progress.say(line);
  const unread = unreadFiles(writers[0]!.manifest, last);
  if (unread !== undefined) progress.say(unread);
}

/**
 * Writes a window of each hook, or saves an unfinished one.
 *
 * @param atOnce whether the next hook's shards are cut while the last of one hook are written
 */
async function writeWindows(
  writers: readonly StoreWriter[],
  { windows, end }: Pick<Assembled, 'windows' | 'end'>,
  atOnce: boolean,
): Promise<void> {
  const writing: Promise<void>[] = [];
  for (const [i, writer] of writers.entries()) {
    const window = windows[i]!;
    // A kill may have left the current window in some of the stores.
    if (writer.windowsDone !== window.index) continue;
    if (end === 'full' && atOnce) writing.push(writer.writeWindow(window));
    else if (end === 'full') await writer.writeWindow(window);
    else if (window.rows > 0) await writer.writePartial(window);
  }
  // If one store fails, the shards of the others are listed first.
  const ends = await Promise.allSettled(writing);
  for (const one of ends) if (one.status === 'rejected') throw one.reason;
}

/** Continues an interrupted window if every store saved its rows; otherwise it is recomputed from its start. */
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
  const read = await takeContexts(text, kept.contexts, stop);
  for (const [i, window] of windows.entries()) {
    const { norm_sum, left_out } = writers[i]!.manifest.partial!;
    window.restore(pieces[i]!, norm_sum, left_out);
    for (const context of read) window.contexts.push(context);
  }
}

/** The message of a resumed harvest that is stopped before its first forward pass. */
const NOTHING_ADDED = 'nothing had been added yet; continue with the same command and --resume.';

/** The first contexts of a window, as recorded in a store. */
interface RecordedContexts {
  readonly contexts: number;
  readonly sha256: string;
}

/**
 * Everything that a store records about window `index`: it is finished, or some of its shards are listed, or its rows
 * were saved at an interruption.
 */
function recordedOf({ contexts, pending, partial }: Manifest, index: number): RecordedContexts[] {
  const found: RecordedContexts[] = contexts.slice(index, index + 1);
  const of = (part: { contexts: number; contexts_sha256: string }) => ({
    contexts: part.contexts,
    sha256: part.contexts_sha256,
  });
  if (pending?.window === index) found.push(of(pending));
  if (partial && contexts.length === index) found.push(of(partial));
  return found;
}

/**
 * Reads the text past the first `done` windows, and checks that it is the text recorded in every store, including the
 * current window: rows of another text must not be added to existing ones.
 *
 * @param text from the start of window `passed`
 * @param course advances along, past the windows of other parts
 * @returns contexts from the start of window `done`
 * @throws Refusal if the text is a different one; nothing has changed by then
 */
async function readRecorded(
  manifests: readonly Manifest[],
  done: number,
  { contexts, passed }: HarvestText,
  corpus: string,
  course: Course,
  stop: StopRequest,
): Promise<AsyncGenerator<Context>> {
  const { batch, contexts: finished } = manifests[0]!;
  let window: Context[] = [];
  let rows = 0;
  for (let index = passed; index <= done; index++) {
    await course.passOver(batches(contexts, batch), rows);
    throwIfStopped(stop, NOTHING_ADDED);
    const made = index < done ? finished[index] : undefined;
    if (made) course.checkMade(made, rows);
    const recorded = manifests.flatMap((manifest) => recordedOf(manifest, index));
    if (recorded.length > 0) course.checkRows(rows + 1);
    window = await takeContexts(contexts, Math.max(0, ...recorded.map((part) => part.contexts)), stop);
    checkRecorded(recorded, window, corpus);
    if (made) {
      course.made(made);
      rows += made.rows;
    }
  }
  return joined(window, contexts);
}

/** @throws Refusal if a store has finished window `index` with different contexts */
function checkFinished(
  { contexts: finished }: Manifest,
  index: number,
  contexts: readonly Context[],
  corpus: string,
): void {
  checkRecorded(finished.slice(index, index + 1), contexts, corpus);
}

function checkRecorded(recorded: readonly RecordedContexts[], window: readonly Context[], corpus: string): void {
  const hashes = new Map<number, string>();
  for (const { contexts, sha256: expected } of recorded) {
    const found = hashes.get(contexts) ?? sha256(encodeContexts(window.slice(0, contexts)));
    hashes.set(contexts, found);
    if (found !== expected) throw otherText(corpus);
  }
}

/** The next `count` contexts, or as many as there are. */
async function takeContexts(contexts: AsyncGenerator<Context>, count: number, stop: StopRequest): Promise<Context[]> {
  const taken: Context[] = [];
  while (taken.length < count) {
    throwIfStopped(stop, NOTHING_ADDED);
    const { value, done } = await contexts.next();
    if (done) break;
    taken.push(value);
  }
  if (taken.length < count) throwIfStopped(stop, NOTHING_ADDED);
  return taken;
}

async function* joined(first: readonly Context[], rest: AsyncGenerator<Context>): AsyncGenerator<Context> {
  yield* first;
  yield* rest;
}

function otherText(corpus: string): Refusal {
  return new Refusal(
    `The text of ${corpus}, or its tokenization, has changed since this harvest began.`,
    'Restore the text and the tokenizer, or start again with --overwrite.',
    'harvest/other-text',
  );
}

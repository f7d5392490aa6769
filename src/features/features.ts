import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { commandWords, type GivenCommand, isLasting, version } from '../config/flags.js';
import { type FeaturesConfig, featuresSchema } from '../config/stages/features.js';
import { batches, type Context, checkEnoughText, countActivations, tooFewTokens } from '../corpus/contexts.js';
import { openCorpus } from '../corpus/documents.js';
import { corpusName } from '../corpus/mixture.js';
import { tokenTexts } from '../corpus/token-texts.js';
import { makeDirectory } from '../disk/durable.js';
import { exists } from '../disk/input-file.js';
import { checkJson, parseJson, readJsonFile } from '../disk/json.js';
import { asOwner, type ClaimOptions, claimOutputDirectory, removeHalfWritten } from '../disk/output-directory.js';
import { writeAside, writtenAside } from '../disk/output-file.js';
import { checkFreeSpace, memoryLine } from '../disk/space.js';
import { Interrupted, Refusal } from '../errors/refusal.js';
import { remarkOtherReading } from '../eval/candidates.js';
import { openForwardPass } from '../harvest/forward-pass.js';
import { modelDirectory } from '../hub/model-source.js';
import { parseModelConfig } from '../lm/families/registry.js';
import { sayTf32 } from '../onnx/tf32.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { NOTHING_BEGUN, stopRequested, throwIfStopped, untilStopped } from '../progress/stop.js';
import { saeDirectories } from '../sae/published/open.js';
import { Collection, openEncoders } from './collection.js';
import {
  FEATURES_FILE,
  type FeaturesRecord,
  featuresRecord,
  isSaeFile,
  LABELS_FILE,
  VOCABULARY_FILE,
} from './folder.js';
import { remarkLeftOut } from './left-out.js';
import { writeVocabularyRows } from './parquet-rows.js';
import { type FeaturesIdentity, type FeaturesPlan, featuresBytes, featuresMemory, planFeatures } from './plan.js';
import { type FoundState, findState, isState, removeStates, writeState } from './state.js';
import { writeSaeFiles } from './write-folder.js';

/** When to write a state, in milliseconds. */
interface Saving {
  /** Min time since the last one. */
  readonly every: number;
  readonly now: () => number;
}

const SAVING: Saving = { every: 120_000, now: () => performance.now() };

/** At most one part in this many of a run's time goes into writing states. */
const SAVING_SHARE = 20;

/**
 * Collects what every feature of the SAEs responds to in one pass over the text, compares their directions, and writes
 * the folder (folder.ts). A stopped or killed run resumes with --resume and writes the same bytes.
 *
 * @returns the folder
 */
export async function collectFeatures(
  config: FeaturesConfig,
  progress: Progress,
  stop: StopRequest,
  saving: Saving = SAVING,
): Promise<string> {
  // Before the model, which may have to be downloaded.
  await openCorpus(config, progress);
  const claim = await claimOf(config, progress);
  await asOwner([config.out], claim, async () => {
    const directories = await saeDirectories(config.sae, config, progress, stop);
    const model = await modelDirectory(config, progress, stop, parseModelConfig);
    const plan = await planFeatures(config, model, directories);
    remarkOtherReading(config, plan.candidates, progress);
    try {
      await new FeaturesRun(plan, config, progress, stop, saving).run(claim);
    } finally {
      await plan.text.close(progress);
    }
  });
  return config.out;
}

/** The names that may be in the folder: a directory counts as ours if it contains only our files. */
async function claimOf(
  { out, overwrite, resume, takeOver, sae, model, corpus }: FeaturesConfig,
  progress: Progress,
): Promise<ClaimOptions> {
  if (overwrite) await checkNoLabels(out);
  const folders = new Set<string>();
  for (const entry of await readdir(out, { withFileTypes: true }).catch(() => [])) {
    if (!entry.isDirectory()) continue;
    const names = await readdir(join(out, entry.name));
    if (names.every((name) => isSaeFile(writtenAside(name) ?? name))) folders.add(entry.name);
  }
  const ours = (name: string) =>
    name === FEATURES_FILE || name === VOCABULARY_FILE || isState(name) || folders.has(name);
  const inputs = [...sae, model, ...corpus];
  const told = { unchecked: takeOver, say: (line: string) => progress.say(line) };
  return { overwrite, resume, ours, resumeFlag: '--resume', result: FEATURES_FILE, inputs, takeOver: told };
}

/** @throws Refusal if a folder to be overwritten contains labels, which someone wrote by hand */
export async function checkNoLabels(out: string): Promise<void> {
  for (const name of await readdir(out).catch((): string[] => [])) {
    const labels = join(out, name, LABELS_FILE);
    if (!(await exists(labels))) continue;
    throw new Refusal(
      `${labels} contains labels, which --overwrite would delete.`,
      'Choose another --out, or move the labels elsewhere.',
      'features/labels',
    );
  }
}

class FeaturesRun {
  private readonly collection: Collection;
  private readonly identity: string;
  /** Contexts in the state on disk, and when it was written. */
  private saved = 0;
  private savedAt: number;
  private savingTook = 0;
  /** SHA-256 of the tokens. */
  private texts: readonly string[] = [];

  constructor(
    private readonly plan: FeaturesPlan,
    private readonly config: FeaturesConfig,
    private readonly progress: Progress,
    private readonly stop: StopRequest,
    private readonly saving: Saving,
  ) {
    const { topK, window, tokens } = config;
    const limits = plan.identity.saes.map(({ norm_limit }) => norm_limit);
    const settings = { topK, window: [window[0]!, window[1]!] as const, tokens, leftOut: plan.leftOut, limits };
    this.collection = new Collection(plan.candidates, settings);
    this.identity = JSON.stringify(plan.identity);
    this.savedAt = saving.now();
  }

  async run(claim: ClaimOptions): Promise<void> {
    const { config, plan, progress, stop, collection } = this;
    const { out } = config;
    if (config.resume && (await isComplete(out, plan.identity))) {
      // A kill may have come between the last file and the cleanup.
      await removeStates(out);
      progress.say(`${out} is already complete; nothing was collected again.`);
      return;
    }
    const state = config.resume ? await findState(out) : undefined;
    if (state) checkSame(state.path, parseJson(state.identity), plan.identity);
    else await this.checkText();
    throwIfStopped(stop, state ? NOTHING_ADDED : NOTHING_BEGUN);
    this.texts = await tokenTexts(plan.checkpoint.directory, plan.checkpoint.config.vocabulary);
    await checkFreeSpace(out, featuresBytes(plan, config));
    await claimOutputDirectory(out, claim);
    if (!state) await removeStates(out);
    progress.say(memoryLine(await featuresMemory(plan, config)));
    // SAEs are always float32.
    sayTf32(progress.say, config.device);
    const contexts = untilStopped(plan.text.contexts(), stop);
    try {
      if (state) await this.restore(state, contexts);
      // Files are only started once a complete collection is on disk: any others are from a run that is not resumed.
      if (!collection.complete) {
        await this.removeFiles();
        await this.collect(contexts);
      }
    } finally {
      await contexts.return(undefined);
    }
    await this.write();
  }

  private async removeFiles(): Promise<void> {
    for (const { folder } of this.plan.identity.saes) {
      const directory = join(this.config.out, folder);
      for (const name of await readdir(directory).catch((): string[] => [])) {
        if (isSaeFile(writtenAside(name) ?? name)) await rm(join(directory, name));
      }
    }
  }

  /** Checks that there is enough text before the model runs. */
  private async checkText(): Promise<void> {
    const { config, plan, progress, stop } = this;
    const count = (context: Context) => countActivations(context, plan.leftOut);
    const ahead = untilStopped(plan.text.ahead(), stop);
    await checkEnoughText(ahead, count, config.tokens, corpusName(config), progress, stop);
    plan.text.remark(progress);
  }

  /** Resumes from a state: its text is read again, and must be the same. */
  private async restore(state: FoundState, contexts: AsyncGenerator<Context>): Promise<void> {
    const { collection, config, progress, stop } = this;
    progress.begin('reading the text again', state.contexts, 'context');
    while (collection.contexts.length < state.contexts) {
      const { value, done } = await contexts.next();
      throwIfStopped(stop, NOTHING_ADDED);
      if (done) throw otherText(config);
      collection.addText(value);
      if (value.index % 64 === 0) progress.update(collection.contexts.length);
    }
    progress.end();
    if (collection.textDigest !== state.textDigest) throw otherText(config);
    await state.readInto(collection);
    this.saved = state.contexts;
  }

  private async collect(contexts: AsyncGenerator<Context>): Promise<void> {
    const { collection, config, plan, progress, stop } = this;
    const { checkpoint, candidates, inputs, context } = plan;
    const pass = await openForwardPass(checkpoint, inputs, context, { ...config, dtype: 'float32' });
    try {
      const encoders = await openEncoders(candidates, config);
      try {
        const inputOf = new Map(
          candidates.map((one) => [one, inputs.findIndex(({ name }) => name === one.input.name)]),
        );
        progress.begin('collecting features', config.tokens, 'token');
        progress.update(collection.tokens);
        for await (const group of batches(contexts, plan.batch)) {
          await collection.addGroup(group, pass, (one) => inputOf.get(one)!, encoders);
          await this.checkSaes();
          progress.update(collection.tokens);
          if (collection.complete) break;
          await this.saveWhenDue();
          if (await stopRequested(stop)) await this.stopped();
        }
        progress.end();
      } finally {
        for (const encoder of encoders) await encoder.release();
      }
    } finally {
      await pass.release();
    }
    if (collection.complete) return;
    if (stop.signal) await this.stopped();
    throw tooFewTokens(corpusName(config), collection.tokens, config.tokens);
  }

  private async saveWhenDue(): Promise<void> {
    const { saving } = this;
    if (saving.now() - this.savedAt < Math.max(saving.every, SAVING_SHARE * this.savingTook)) return;
    await this.save();
  }

  private async save(): Promise<void> {
    const { collection, config, saving } = this;
    if (collection.contexts.length === this.saved) return;
    const begun = saving.now();
    await writeState(config.out, collection, this.identity, commandOf(config));
    this.saved = collection.contexts.length;
    this.savedAt = saving.now();
    this.savingTook = this.savedAt - begun;
  }

  /** Figures of two different SAEs must never be mixed. */
  private async checkSaes(): Promise<void> {
    for (const { unchanged } of this.plan.candidates) await unchanged.check();
  }

  /** Saves the state and stops. */
  private async stopped(): Promise<never> {
    await this.save();
    throw new Interrupted(this.stop.signal!, this.kept());
  }

  private kept(): string {
    const { tokens } = this.collection;
    return `${tokens} of ${this.config.tokens} tokens are kept in ${this.config.out}; continue with --resume.`;
  }

  /** Writes the files from the complete collection. */
  private async write(): Promise<void> {
    const { collection, config, plan, progress, stop } = this;
    const { checkpoint, placement, identity } = plan;
    const { out } = config;
    // Comparing directions may take longer than the pass.
    await this.save();
    await checkpoint.checkUnchanged();
    const { tokens, contexts } = collection;
    const shared = { out, checkpoint, placement, options: config, contexts, window: identity.settings.window };
    for (const [k, sae] of collection.saes.entries()) {
      const { folder, norm_limit } = identity.saes[k]!;
      const counted = tokens - sae.leftOut;
      if (norm_limit) remarkLeftOut(sae, norm_limit, tokens, progress);
      await makeDirectory(join(out, folder));
      await removeHalfWritten(join(out, folder), isSaeFile);
      await writeSaeFiles(sae, folder, { ...shared, tokens: counted, progress, stop, kept: () => this.kept() });
      await sae.candidate.unchanged.check();
    }
    await writeVocabularyRows(
      join(out, VOCABULARY_FILE),
      this.texts.map((text, id) => ({ id, text })),
    );
    await writeAside(join(out, FEATURES_FILE), `${JSON.stringify(this.record(), null, 1)}\n`);
    await removeStates(out);
  }

  private record(): FeaturesRecord {
    const { collection, plan } = this;
    const { saes, ...identity } = plan.identity;
    return {
      ...{ format: 'sae-pipe features', version: 1, made_by: `sae-pipe ${version()}` },
      ...identity,
      contexts: collection.contexts.length,
      text_sha256: collection.textDigest,
      saes: saes.map((sae, k) => {
        const { tallies, sample, leftOut } = collection.saes[k]!;
        const active = tallies.flatMap(({ activeTokens }) => [...activeTokens]);
        const total = active.reduce((sum, n) => sum + n, 0);
        return {
          ...sae,
          ...(sae.norm_limit && { left_out: leftOut }),
          alive: active.filter((n) => n > 0).length,
          l0: total / (collection.tokens - leftOut),
          cofiring_tokens: sample.tokens,
        };
      }),
    };
  }
}

const NOTHING_ADDED = 'nothing was added; continue with --resume.';

/** Its command without --out; undefined if another shell would not find its inputs. */
function commandOf(config: FeaturesConfig): GivenCommand | undefined {
  const inputs = [...config.sae, config.model, config.corpus].flat();
  if (!inputs.every(isLasting)) return undefined;
  return { directory: process.cwd(), words: commandWords(featuresSchema, config) };
}

/**
 * Does the folder contain exactly what this command would write? @throws Refusal if it is complete with other settings
 */
async function isComplete(out: string, identity: FeaturesIdentity): Promise<boolean> {
  const path = join(out, FEATURES_FILE);
  if (!(await exists(path))) return false;
  const remedy = 'Write the folder again with --overwrite.';
  const json = await readJsonFile(path, [`${path} does not exist.`, remedy], remedy);
  const { saes, ...record } = checkJson(featuresRecord, json, path, remedy);
  const found = {
    ...record,
    saes: saes.map(({ left_out: _, alive: __, l0: ___, cofiring_tokens: ____, ...sae }) => sae),
  };
  checkSame(out, found, identity);
  return true;
}

/** @throws Refusal naming the first differing setting */
function checkSame(where: string, before: unknown, now: FeaturesIdentity): void {
  for (const [key, value] of Object.entries(JSON.parse(JSON.stringify(now)) as Record<string, unknown>)) {
    const then = (before as Readonly<Record<string, unknown>> | null)?.[key];
    if (isDeepStrictEqual(then, value)) continue;
    throw new Refusal(
      `${where} was started with ${key} ${JSON.stringify(then)}, but this command has ${JSON.stringify(value)}.`,
      'Continue with the same SAEs, model, text and settings, or start again with --overwrite.',
      'features/other-settings',
    );
  }
}

function otherText(config: FeaturesConfig): Refusal {
  return new Refusal(
    `The text of ${corpusName(config)}, or its tokenization, differs from what this folder was started with.`,
    'Restore the text and the tokenizer, or start again with --overwrite.',
    'features/other-text',
  );
}

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { commandWords, type TrainingCommand, version } from '../config/flags.js';
import { trainingCommand } from '../config/run-file.js';
import { type EvalConfig, evalSchema } from '../config/stages/eval.js';
import {
  batches,
  type Context,
  checkEnoughText,
  type LeftOut,
  leftOutTokens,
  tooFewTokens,
} from '../corpus/contexts.js';
import { documentChoice } from '../corpus/document-choice.js';
import { corpusSettings, openCorpus } from '../corpus/documents.js';
import { corpusName } from '../corpus/mixture.js';
import { Text, type TokenizerFacts } from '../corpus/text.js';
import { exists } from '../disk/input-file.js';
import { asOwner, type ClaimOptions, checkOutputDirectory, claimOutputDirectory } from '../disk/output-directory.js';
import { Refusal } from '../errors/refusal.js';
import { modelDirectory } from '../hub/model-source.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import { parseModelConfig } from '../lm/families/registry.js';
import { chooseBos, chooseContext, choosePrecision } from '../lm/pass.js';
import { sayTf32 } from '../onnx/tf32.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { stopRequested, throwIfStopped, untilStopped } from '../progress/stop.js';
import { type ChangeOfSae, factorsOf, type NamedSae } from '../sae/feature-changes.js';
import { saeDirectories } from '../sae/published/open.js';
import { openSae } from '../sae/saelens.js';
import { trainingRecordOf } from '../sae/training-record.js';
import { checkLogDirectory } from '../tensorboard/event-log.js';
import { featureChanges, withChanges } from './asked-changes.js';
import {
  atHook,
  type Candidate,
  excludedTokens,
  normRuleOf,
  openCandidate,
  remarkOtherReading,
  remarkSharedRules,
  rolesThatCount,
  sharedBos,
  sharedContext,
} from './candidates.js';
import { decoderMaxCosine } from './decoder-cosine.js';
import { logDirectories, logEvaluation } from './log-evaluation.js';
import type { SpliceMetrics } from './metrics.js';
import {
  type DecoderMaxCosine,
  EVAL_FILE,
  type EvalRecord,
  type EvalSettings,
  isEvaluationFile,
  type MeasuredRecord,
  NOTHING_WRITTEN,
  readEvaluation,
  settingsAsRead,
  writeEvaluation,
} from './record.js';
import { seenText } from './seen-text.js';
import { openSpliceIn } from './splice-in.js';
import { countPositions } from './splice-pass.js';

/** The mean of this many leading counted positions is used as an estimate of the mean of all. */
const MEAN_POSITIONS = 16_384;

/** A requested evaluation. */
interface EvaluationRequest {
  readonly config: EvalConfig;
  readonly progress: Progress;
  readonly stop: StopRequest;
  /** The one command that made all the SAEs; undefined if each may have its own next to it. */
  readonly trainedBy?: TrainingCommand | null;
}

/** An evaluation whose SAEs, model and text are checked against each other; nothing has been measured yet. */
interface PlannedEvaluation extends EvaluationRequest {
  readonly checkpoint: Checkpoint;
  readonly candidates: readonly Candidate[];
  readonly context: number;
  readonly leftOut: LeftOut;
  readonly text: Text;
  /** For each candidate. */
  readonly settings: readonly EvalSettings[];
  /** Changes to each candidate's features in a separate run; null: none. */
  readonly changes: readonly (ChangeOfSae | null)[];
}

/**
 * Splices SAEs into the model on held-out text and writes eval.json; SAEs at one hook share a forward pass. A killed
 * evaluation leaves nothing: the same command starts over.
 *
 * @param trainedBy the one command that made all the SAEs; otherwise each may have its own next to it
 */
export async function evaluate(
  config: EvalConfig,
  progress: Progress,
  stop: StopRequest,
  trainedBy?: TrainingCommand | null,
): Promise<MeasuredRecord[]> {
  const asked = { config, progress, stop, trainedBy };
  return inItsDirectory(asked, claimOf(asked), () => withPlan(asked, measure));
}

/** The same without a directory: nothing is written, and the records have no training curve. */
export async function evaluateInMemory(
  config: Omit<EvalConfig, 'out'>,
  progress: Progress,
  stop: StopRequest,
): Promise<MeasuredRecord[]> {
  await openCorpus(config, progress);
  const records = await withPlan({ config: { ...config, out: '' }, progress, stop }, measuredRecords);
  return records.map((record) => ({ ...record, training_curve: null }));
}

/**
 * Evaluates, unless config.out already contains exactly this evaluation: the same SAEs, unchanged, on this text with
 * these settings. A scheduler reruns a command that was killed after writing its last file, and that must succeed.
 *
 * @param anew measure again in any case
 * @param trainedBy as for `evaluate`
 * @throws Refusal if a different evaluation is there and may not be overwritten
 */
export async function evaluateOnce(
  config: EvalConfig,
  progress: Progress,
  stop: StopRequest,
  anew = config.overwrite,
  trainedBy?: TrainingCommand | null,
): Promise<readonly EvalRecord[]> {
  const { logDir, out } = config;
  const logs = logDir === undefined ? [] : logDirectories(logDir, config.sae);
  for (const log of logs) await checkLogDirectory(log, out);
  const records = await recordsOnce(config, progress, stop, anew, trainedBy);
  if (logs.length > 0) await logEvaluation(records, logs, config, (line) => progress.say(line));
  return records;
}

async function recordsOnce(
  config: EvalConfig,
  progress: Progress,
  stop: StopRequest,
  anew: boolean,
  trainedBy?: TrainingCommand | null,
): Promise<readonly EvalRecord[]> {
  const before = anew ? undefined : await recordsIn(config, progress);
  if (before === undefined) return evaluate(config, progress, stop, trainedBy);
  const asked = { config, progress, stop, trainedBy };
  return inItsDirectory(asked, { ...claimOf(asked), resume: !config.overwrite }, () =>
    withPlan(asked, async (planned): Promise<readonly EvalRecord[]> => {
      if (isSame(before, planned)) {
        progress.say(`${config.out} already contains this evaluation; nothing was measured again.`);
        return before;
      }
      await checkOutputDirectory(config.out, claimOf(asked));
      return measure(planned);
    }),
  );
}

/** The records in config.out; undefined if there are none, or they are not readable. */
async function recordsIn({ out, overwrite }: EvalConfig, progress: Progress): Promise<EvalRecord[] | undefined> {
  if (!(await exists(join(out, EVAL_FILE)))) return undefined;
  try {
    return (await readEvaluation(out)).map(({ record }) => record);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (overwrite) progress.say(`${error.message} The SAEs are evaluated again.`);
    return undefined;
  }
}

/** Are these the records that the planned evaluation would produce? */
function isSame(before: readonly EvalRecord[], { config, candidates, settings }: PlannedEvaluation): boolean {
  const wanted = candidates.map(({ path, hook }, i) => [path, hook.name, config.tokens, settings[i]]);
  const found = before.map(({ sae, hook, tokens, settings }) => [sae, hook, tokens, settings]);
  return isDeepStrictEqual(found, wanted);
}

async function inItsDirectory<T>(
  { config, progress }: EvaluationRequest,
  claim: ClaimOptions,
  work: () => Promise<T>,
): Promise<T> {
  // Before the model, which may have to be downloaded.
  await openCorpus(config, progress);
  return asOwner([config.out], claim, work);
}

function claimOf({ config, progress }: EvaluationRequest): ClaimOptions {
  const { overwrite, sae, model, corpus } = config;
  const takeOver = { unchecked: config.takeOver, say: (line: string) => progress.say(line) };
  const inputs = [...sae, model, ...corpus];
  return { overwrite, ours: isEvaluationFile, result: EVAL_FILE, beginsAnew: true, inputs, takeOver };
}

async function withPlan<T>(asked: EvaluationRequest, work: (plan: PlannedEvaluation) => Promise<T>): Promise<T> {
  const { config, progress, stop } = asked;
  const directories = await saeDirectories(config.sae, config, progress, stop);
  const named: NamedSae[] = [];
  for (const path of config.sae) named.push({ path, dSae: (await openSae(directories.get(path)!, 'transcoder')).dSae });
  const changes = await featureChanges(config, named);
  const model = await modelDirectory(config, progress, stop, parseModelConfig);
  const checkpoint = await openCheckpoint(model);
  const candidates: Candidate[] = [];
  for (const path of config.sae) {
    candidates.push(await openCandidate(path, config, checkpoint, directories.get(path)));
  }
  remarkOtherReading(config, candidates, progress);
  remarkSharedRules(candidates, config, progress);
  const seen = await seenText(candidates, config);
  if (seen !== undefined) progress.say(seen);
  const context = chooseContext(config.context ?? sharedContext(candidates), checkpoint.config);
  const wanted = config.prependBos;
  const bos = wanted === undefined ? sharedBos(candidates, checkpoint.config) : chooseBos(wanted, checkpoint.config);
  const { bosTokenId, vocabulary, special } = checkpoint.config;
  const text = await Text.open({
    ...{ model, expected: { bosTokenId, vocabulary, special, bos }, context },
    ...corpusSettings({ ...config, roles: rolesThatCount(candidates, config) }),
    documents: documentChoice(config, true),
  });
  try {
    const excluded = excludedTokens(candidates, config, text.facts);
    const { prependBos } = text.facts;
    const leftOut = leftOutTokens(prependBos ? text.facts.bosTokenId : null, excluded);
    const digest = await digestOfEnough(text, leftOut, asked);
    const about = { facts: text.facts, context, excluded, digest };
    const shared = evaluationSettings(config, checkpoint, candidates, about);
    const settings = shared.map((own, i) => withChanges(own, changes[i]!));
    const factors = changes.map((own) => (own.length > 0 ? factorsOf(own) : null));
    return await work({ ...asked, checkpoint, candidates, context, leftOut, text, settings, changes: factors });
  } finally {
    await text.close(progress);
  }
}

/** Checks that there is enough text; returns the SHA-256 of its contexts. */
async function digestOfEnough(
  ahead: Text,
  leftOut: LeftOut,
  { config, progress, stop }: EvaluationRequest,
): Promise<string> {
  const hash = createHash('sha256');
  const contexts = async function* () {
    for await (const context of untilStopped(ahead.ahead(), stop)) {
      hash.update(Int32Array.from(context.tokens));
      yield context;
    }
  };
  const count = (context: Context) => countPositions(context, leftOut);
  await checkEnoughText(contexts(), count, config.tokens, corpusName(config), progress, stop);
  ahead.remark(progress);
  return hash.digest('hex');
}

/** The settings for each candidate. */
function evaluationSettings(
  config: EvalConfig,
  checkpoint: Checkpoint,
  candidates: readonly Candidate[],
  text: { facts: TokenizerFacts; context: number; excluded: number[]; digest: string },
): EvalSettings[] {
  const { precision } = choosePrecision(config.precision, config.device, checkpoint);
  const { facts, context, excluded, digest } = text;
  const { prependBos, chat } = facts;
  const shared = {
    model_fingerprint: checkpoint.fingerprint,
    corpus: corpusName(config),
    text_field: config.textField,
    encoding: config.encoding,
    documents: documentChoice(config, true),
    chat: chat && { ...chat, roles: chat.roles?.slice() },
    text_sha256: digest,
    context,
    prepend_bos: prependBos ? undefined : false,
    exclude_special_tokens: excluded.length > 0 ? excluded : undefined,
    batch: config.batch,
    mean_ablation: config.meanAblation,
    feature_changes: undefined,
    device: config.device,
    precision,
  };
  return candidates.map(({ unchanged, hook }) => {
    const rule = normRuleOf(atHook(candidates, hook.name), config);
    const norm_limit = rule && { ...rule, hook: rule.hook.name };
    return settingsAsRead({ version: version(), sae_sha256: unchanged.digest, ...shared, norm_limit });
  });
}

async function measure(planned: PlannedEvaluation): Promise<MeasuredRecord[]> {
  const { config, progress } = planned;
  const records = await measuredRecords(planned);
  await claimOutputDirectory(config.out, claimOf(planned));
  return writeEvaluation(config.out, records, (line) => progress.say(line));
}

async function measuredRecords(planned: PlannedEvaluation): Promise<Omit<MeasuredRecord, 'training_curve'>[]> {
  const { checkpoint, candidates, settings, config, progress, stop } = planned;
  // SAEs are always float32.
  sayTf32(progress.say, config.device);
  const measured = new Map<Candidate, SpliceMetrics>();
  for (const name of new Set(candidates.map(({ hook }) => hook.name))) {
    const group = atHook(candidates, name);
    const changes = group.map((candidate) => planned.changes[candidates.indexOf(candidate)]!);
    const metrics = await evaluateHook(group, changes, planned);
    for (const [k, candidate] of group.entries()) measured.set(candidate, metrics[k]!);
  }
  const cosines = new Map<Candidate, DecoderMaxCosine>();
  for (const candidate of candidates) {
    cosines.set(candidate, await decoderMaxCosine(candidate.files, config, progress, stop));
  }

  await checkUnchanged(checkpoint, candidates);
  const command = { directory: process.cwd(), words: commandWords(evalSchema, config) };
  const say = (line: string) => progress.say(line);
  const training: (TrainingCommand | null)[] = [];
  for (const candidate of candidates) {
    training.push(planned.trainedBy === undefined ? await ownTraining(candidate, say) : planned.trainedBy);
  }
  return candidates.map((candidate, i) => {
    const { architecture, dIn, dSae, cfg } = candidate.files;
    return {
      sae: candidate.path,
      architecture,
      hook: candidate.hook.name,
      hook_in: candidate.input === candidate.hook ? null : candidate.input.name,
      model: checkpoint.name,
      d_in: dIn,
      d_sae: dSae,
      ...measured.get(candidate)!,
      decoder_max_cosine: cosines.get(candidate)!,
      settings: settings[i]!,
      command,
      training: training[i]!,
      cfg,
    };
  });
}

/** The command that trained an SAE; null if no file next to it tells. */
async function ownTraining({ path, files }: Candidate, say: (line: string) => void): Promise<TrainingCommand | null> {
  return trainingCommand(path, trainingRecordOf(files.cfg)).catch((error: unknown) => {
    if (!(error instanceof Refusal)) throw error;
    say(`${error.message} The evaluation is written without the command that trained ${path}.`);
    return null;
  });
}

/** @throws Refusal if an SAE or the model was replaced, which would mix figures of two */
async function checkUnchanged(checkpoint: Checkpoint, candidates: readonly Candidate[]): Promise<void> {
  await checkpoint.checkUnchanged();
  for (const { unchanged } of candidates) await unchanged.check();
}

/** SpliceMetrics of SAEs at one hook, over exactly config.tokens positions. */
async function evaluateHook(
  group: readonly Candidate[],
  changes: readonly (ChangeOfSae | null)[],
  planned: PlannedEvaluation,
): Promise<SpliceMetrics[]> {
  const { checkpoint, context, leftOut, text, config, progress, stop } = planned;
  // Opening the model may take minutes.
  throwIfStopped(stop, NOTHING_WRITTEN);
  const { hook } = group[0]!;
  const files = group.map((candidate) => candidate.files);
  const inputs = group.map(({ input }) => input);
  const { prependBos } = text.facts;
  const spliceIn = await openSpliceIn(checkpoint, hook, files, context, {
    ...{ ...config, prependBos, inputs, changes },
    normRule: normRuleOf(group, config),
  });
  /** Feeds the first `wanted` positions of the text to `take`, which returns how many it counted. */
  const feed = async (label: string, wanted: number, take: typeof spliceIn.add) => {
    progress.begin(`${label} ${hook.name}`, wanted, 'token');
    let tokens = 0;
    for await (const batch of batches(untilStopped(text.contexts(), stop), config.batch)) {
      tokens += await take(batch, leftOut, wanted - tokens, async (counted) => {
        progress.update(tokens + counted);
        await checkUnchanged(checkpoint, group);
        if (await stopRequested(stop)) throwIfStopped(stop, NOTHING_WRITTEN);
      });
      if (tokens === wanted) break;
    }
    progress.end();
    if (tokens === wanted) return;
    throwIfStopped(stop, NOTHING_WRITTEN);
    throw tooFewTokens(corpusName(config), tokens, wanted);
  };
  try {
    await feed('taking the mean of', Math.min(config.tokens, MEAN_POSITIONS), spliceIn.addToMean);
    await feed('evaluating', config.tokens, spliceIn.add);
    return spliceIn.metrics();
  } finally {
    await spliceIn.release();
  }
}

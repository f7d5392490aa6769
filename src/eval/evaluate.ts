import { isDeepStrictEqual } from 'node:util';
import { commandWords, type TrainingCommand, version } from '../config/flags.js';
import { trainingCommand } from '../config/run-file.js';
import { type EvalConfig, evalSchema } from '../config/stages.js';
import {
  batches,
  type Context,
  checkEnoughText,
  type LeftOut,
  leftOutTokens,
  tooFewTokens,
} from '../corpus/contexts.js';
import { openCorpus } from '../corpus/documents.js';
import { Text, type TokenizerFacts } from '../corpus/text.js';
import type { Unchanged } from '../disk/input-file.js';
import { asOwner, type ClaimOptions, checkOutputDirectory, claimOutputDirectory } from '../disk/output-directory.js';
import { Refusal } from '../errors/refusal.js';
import { modelDirectory } from '../hub/model-source.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import { parseModelConfig } from '../lm/families/registry.js';
import { findHook, type Hook } from '../lm/hooks.js';
import { chooseContext, choosePrecision } from '../lm/pass.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { heard, untilStopped } from '../progress/stop.js';
import { checkFiniteWeights, checkModelOf, openSae, openSameSae, type SaeFiles } from '../sae/saelens.js';
import { decoderMaxCosine } from './decoder-cosine.js';
import type { Metrics } from './metrics.js';
import {
  type DecoderMaxCosine,
  EVAL_FILE,
  type EvalRecord,
  type EvalSettings,
  HashedContexts,
  interrupted,
  isEvaluationFile,
  type MeasuredRecord,
  writeEvaluation,
} from './record.js';
import { openSpliceIn } from './splice-in.js';
import { countPositions } from './splice-pass.js';

/** Counted positions, the first of the text, whose mean is taken beforehand for that of all. */
const MEAN_POSITIONS = 16_384;

/** An evaluation whose SAEs, model and text fit one another; nothing has been measured. */
interface PlannedEvaluation {
  readonly checkpoint: Checkpoint;
  readonly candidates: readonly Candidate[];
  readonly context: number;
  readonly leftOut: LeftOut;
  readonly text: Text;
  /** Of each candidate. */
  readonly settings: readonly EvalSettings[];
}

/**
 * Splices SAEs into the model on held-out text and writes eval.json; SAEs of one hook share a forward pass. There is
 * nothing to go on with after a kill: the same command begins again.
 *
 * @param trainedBy the one command that made all of the SAEs; else each may have its own next to it
 */
export async function evaluate(
  config: EvalConfig,
  progress: Progress,
  stop: StopRequest,
  trainedBy?: TrainingCommand | null,
): Promise<MeasuredRecord[]> {
  return inItsDirectory(config, progress, claimOf(config, progress), () =>
    withPlan(config, progress, stop, (planned) => measure(planned, config, progress, stop, trainedBy)),
  );
}

/**
 * The same, but for an evaluation of just these SAEs, as they are now, on this text with these settings: that is given
 * back.
 *
 * @param before what stands in config.out
 * @throws Refusal where that is another evaluation, and may not be overwritten
 */
export async function evaluateUnlessSame(
  before: readonly EvalRecord[],
  config: EvalConfig,
  progress: Progress,
  stop: StopRequest,
  trainedBy?: TrainingCommand | null,
): Promise<readonly EvalRecord[]> {
  return inItsDirectory(config, progress, { ...claimOf(config, progress), resume: !config.overwrite }, () =>
    withPlan(config, progress, stop, async (planned): Promise<readonly EvalRecord[]> => {
      const wanted = planned.candidates.map(({ path, hook }, i) => [
        path,
        hook.name,
        config.tokens,
        planned.settings[i],
      ]);
      const found = before.map(({ sae, hook, tokens, settings }) => [sae, hook, tokens, settings]);
      if (isDeepStrictEqual(found, wanted)) return before;
      await checkOutputDirectory(config.out, claimOf(config, progress));
      return measure(planned, config, progress, stop, trainedBy);
    }),
  );
}

async function inItsDirectory<T>(
  config: EvalConfig,
  progress: Progress,
  claim: ClaimOptions,
  work: () => Promise<T>,
): Promise<T> {
  // Before the model, which may have to be downloaded.
  await openCorpus(config, progress);
  return asOwner([config.out], claim, work);
}

function claimOf(config: EvalConfig, progress: Progress): ClaimOptions {
  const { overwrite, sae, model, corpus } = config;
  const takeOver = config.takeOver ? (line: string) => progress.say(line) : undefined;
  const inputs = [...sae, model, corpus];
  return { overwrite, ours: isEvaluationFile, result: EVAL_FILE, beginsAnew: true, inputs, takeOver };
}

async function withPlan<T>(
  config: EvalConfig,
  progress: Progress,
  stop: StopRequest,
  work: (plan: PlannedEvaluation) => Promise<T>,
): Promise<T> {
  for (const path of config.sae) await openSae(path);
  const model = await modelDirectory(config, progress, stop, parseModelConfig);
  const checkpoint = await openCheckpoint(model);
  const candidates: Candidate[] = [];
  for (const path of config.sae) candidates.push(await openCandidate(path, config, checkpoint));
  const context = chooseContext(config.context ?? sharedContext(candidates), checkpoint.config);
  const { bosTokenId, vocabulary, special } = checkpoint.config;
  const text = await Text.open({
    ...{ model, expected: { bosTokenId, vocabulary, special }, context },
    ...{ corpus: config.corpus, textField: config.textField, encoding: config.encoding },
  });
  try {
    const excluded = excludedTokens(candidates, config, text.facts);
    const settings = await settle(checkpoint, candidates, context, excluded, text, config, progress, stop);
    const leftOut = leftOutTokens(bosTokenId, excluded);
    return await work({ checkpoint, candidates, context, leftOut, text, settings });
  } finally {
    await text.close(progress);
  }
}

/** Reads as much of the text as is wanted; the settings of each candidate. */
async function settle(
  checkpoint: Checkpoint,
  candidates: readonly Candidate[],
  context: number,
  excluded: readonly number[],
  ahead: Text,
  config: EvalConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<EvalSettings[]> {
  const { precision } = choosePrecision(config.precision, config.device, checkpoint);
  const count = (c: Context) => countPositions(c, leftOutTokens(checkpoint.config.bosTokenId, excluded));
  const text = new HashedContexts();
  await checkEnoughText(
    text.pass(untilStopped(ahead.ahead(), stop)),
    count,
    config.tokens,
    config.corpus,
    progress,
    stop,
  );
  ahead.remark(progress);
  const shared = {
    model_fingerprint: checkpoint.fingerprint,
    corpus: config.corpus,
    text_field: config.textField,
    encoding: config.encoding,
    text_sha256: text.digest(),
    context,
    ...(excluded.length > 0 && { exclude_special_tokens: excluded }),
    batch: config.batch,
    mean_ablation: config.meanAblation,
    device: config.device,
    precision,
  };
  const settings: EvalSettings[] = [];
  for (const { unchanged } of candidates) {
    settings.push({ version: version(), sae_sha256: unchanged.digest, ...shared });
  }
  return settings;
}

async function measure(
  { checkpoint, candidates, context, leftOut, text, settings }: PlannedEvaluation,
  config: EvalConfig,
  progress: Progress,
  stop: StopRequest,
  trainedBy: TrainingCommand | null | undefined,
): Promise<MeasuredRecord[]> {
  const measured = new Map<Candidate, Metrics>();
  const contexts = () => untilStopped(text.contexts(), stop);
  for (const name of new Set(candidates.map(({ hook }) => hook.name))) {
    const group = candidates.filter(({ hook }) => hook.name === name);
    const metrics = await evaluateHook(group, checkpoint, contexts, context, leftOut, config, progress, stop);
    for (const [k, candidate] of group.entries()) measured.set(candidate, metrics[k]!);
  }
  const cosines = new Map<Candidate, DecoderMaxCosine>();
  for (const candidate of candidates) {
    cosines.set(candidate, await decoderMaxCosine(candidate.files, config, progress, stop));
  }

  await checkUnchanged(checkpoint, candidates);
  await claimOutputDirectory(config.out, claimOf(config, progress));
  const command = { directory: process.cwd(), words: commandWords(evalSchema, config) };
  const say = (line: string) => progress.say(line);
  const training: (TrainingCommand | null)[] = [];
  for (const candidate of candidates) {
    training.push(trainedBy === undefined ? await ownTraining(candidate, say) : trainedBy);
  }
  const records = candidates.map((candidate, i) => {
    const { architecture, dIn, dSae, cfg } = candidate.files;
    return {
      sae: candidate.path,
      architecture,
      hook: candidate.hook.name,
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
  return writeEvaluation(config.out, records, say);
}

/** The command that trained an SAE; null where what lies next to it tells none. */
async function ownTraining({ path, files }: Candidate, say: (line: string) => void): Promise<TrainingCommand | null> {
  return trainingCommand(path, files.metadata.sae_pipe).catch((error: unknown) => {
    if (!(error instanceof Refusal)) throw error;
    say(`${error.message} The evaluation is written without the command that trained ${path}.`);
    return null;
  });
}

/** @throws Refusal where an SAE or the model was replaced: figures of two would be mixed */
async function checkUnchanged(checkpoint: Checkpoint, candidates: readonly Candidate[]): Promise<void> {
  await checkpoint.checkUnchanged();
  for (const { unchanged } of candidates) await unchanged.check();
}

/** Metrics of SAEs that share a hook, over exactly config.tokens positions. */
async function evaluateHook(
  group: readonly Candidate[],
  checkpoint: Checkpoint,
  contexts: () => AsyncGenerator<Context>,
  context: number,
  leftOut: LeftOut,
  config: EvalConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<Metrics[]> {
  // Opening the model may take minutes.
  if (stop.signal) throw interrupted(stop.signal);
  const { hook } = group[0]!;
  const files = group.map((candidate) => candidate.files);
  const spliceIn = await openSpliceIn(checkpoint, hook, files, context, config);
  /** Feeds the first `wanted` positions of the text to `take`, which says how many it counted. */
  const feed = async (label: string, wanted: number, take: typeof spliceIn.add) => {
    progress.begin(`${label} ${hook.name}`, wanted, 'token');
    let tokens = 0;
    for await (const batch of batches(contexts(), config.batch)) {
      tokens += await take(batch, leftOut, wanted - tokens, async (counted) => {
        progress.update(tokens + counted);
        await checkUnchanged(checkpoint, group);
        if (await heard(stop)) throw interrupted(stop.signal!);
      });
      if (tokens === wanted) break;
    }
    progress.end();
    if (tokens === wanted) return;
    throw stop.signal ? interrupted(stop.signal) : tooFewTokens(config.corpus, tokens, wanted);
  };
  try {
    await feed('taking the mean of', Math.min(config.tokens, MEAN_POSITIONS), spliceIn.addToMean);
    await feed('evaluating', config.tokens, spliceIn.add);
    return spliceIn.metrics();
  } finally {
    await spliceIn.release();
  }
}

/** An SAE that is to be evaluated, and where it is spliced in. */
export interface Candidate {
  readonly path: string;
  readonly files: SaeFiles;
  /** Its files are read more than once. */
  readonly unchanged: Unchanged;
  readonly hook: Hook;
}

/**
 * Opens an SAE for evaluation in this model.
 *
 * @throws Refusal when it belongs to another model or hook, or a weight is NaN or infinite
 */
export async function openCandidate(path: string, config: EvalConfig, checkpoint: Checkpoint): Promise<Candidate> {
  const { files, unchanged } = await openSameSae(path);
  const { hook_name, prepend_bos } = files.metadata;
  const name = hook_name ?? config.hook;
  if (name === undefined) throw new Refusal(`${path}/cfg.json names no hook.`, 'Name it with --hook.', 'eval/no-hook');
  if (config.hook !== undefined && config.hook !== name) {
    throw new Refusal(
      `${path} was trained at ${name}, and --hook says ${config.hook}.`,
      'Leave --hook out.',
      'eval/other-hook',
    );
  }
  if (prepend_bos === false) {
    throw new Refusal(
      `${path} was trained on contexts without BOS, which is not supported.`,
      'Use an SAE that was trained with prepend_bos.',
      'eval/without-bos',
    );
  }
  if (!config.anyModel) {
    const now = { label: config.model, fingerprint: checkpoint.fingerprint };
    checkModelOf(path, files.metadata, now, 'Give its own model, or --any-model to measure how it transfers.');
  }
  const hook = findHook(name, checkpoint.config);
  if (files.dIn !== hook.width) {
    throw new Refusal(
      `${path} has d_in ${files.dIn}, and ${hook.name} of ${checkpoint.name} is ${hook.width} wide.`,
      'The SAE belongs to another model or hook.',
      'eval/wrong-width',
    );
  }
  await checkFiniteWeights(files);
  return { path, files, unchanged, hook };
}

/** The context length the SAEs were trained with, where they agree. */
export function sharedContext(candidates: readonly Candidate[]): number | undefined {
  const lengths = new Set(candidates.map(({ files }) => files.metadata.context_size));
  if (lengths.size > 1) {
    throw new Refusal(
      `The SAEs were trained with different context lengths (${[...lengths].join(', ')}).`,
      'Say which to evaluate with: --context.',
      'eval/several-contexts',
    );
  }
  return [...lengths][0];
}

/**
 * Tokens other than BOS whose positions do not count: those that the SAEs were not trained on, where the command does
 * not say.
 *
 * @throws Refusal where the SAEs disagree
 */
export function excludedTokens(
  candidates: readonly Candidate[],
  { excludeSpecialTokens: asked }: Pick<EvalConfig, 'excludeSpecialTokens'>,
  { bosTokenId, special }: TokenizerFacts,
): number[] {
  const rules = new Set(
    candidates.map(({ files }) => {
      const rule = asked ?? files.metadata.exclude_special_tokens ?? false;
      const tokens = rule === true ? [...special.keys()] : rule === false ? [] : rule;
      return JSON.stringify([...new Set(tokens)].filter((id) => id !== bosTokenId).sort((a, b) => a - b));
    }),
  );
  if (rules.size > 1) {
    throw new Refusal(
      'The SAEs were trained with different special tokens left out.',
      'Say how to evaluate them: --exclude-special-tokens, or --no-exclude-special-tokens.',
      'eval/several-exclusions',
    );
  }
  return JSON.parse([...rules][0]!) as number[];
}

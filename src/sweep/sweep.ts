import { basename, dirname, join } from 'node:path';
import type { Manifest } from '../activations/manifest.js';
import { findStore } from '../activations/store.js';
import { section } from '../config/config-file.js';
import { commandWords, isLasting, type TrainingCommand } from '../config/flags.js';
import { loadConfig } from '../config/load.js';
import type { EvalConfig } from '../config/stages/eval.js';
import type { HarvestConfig } from '../config/stages/harvest.js';
import { type SweepConfig, sweepSchema } from '../config/stages/sweep.js';
import { openCorpus } from '../corpus/documents.js';
import { makeDirectory, removeEmpty } from '../disk/durable.js';
import { checkUnlocked } from '../disk/lock.js';
import { asOwner } from '../disk/output-directory.js';
import { Interrupted, Refusal, UsageRefusal } from '../errors/refusal.js';
import { evaluateOnce } from '../eval/evaluate.js';
import { logEvaluation } from '../eval/log-evaluation.js';
import type { EvalRecord } from '../eval/record.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { stepsOf } from '../train/run-settings.js';
import { checkTracking } from '../train/tracking.js';
import { divide, sharingOrder, waves } from './division.js';
import { harvestStores } from './harvest-stores.js';
import { removeLonePlan, writePlan } from './plan-file.js';
import { type SweepRun, sweepHooks, sweepRuns } from './runs.js';
import { checkStageOfShare, shareNamed, toldShare } from './share.js';
import { type Outcome, trainRuns } from './train-runs.js';

/** Results of a sweep. */
interface SweepResult {
  readonly outcomes: readonly Outcome[];
  /** Empty if the file has no section eval. */
  readonly records: readonly EvalRecord[];
  /** The page, if there are records. */
  readonly report: string | undefined;
}

/**
 * Harvests missing activations, trains every combination of the sweep's lists, evaluates all of them and writes one
 * report. Existing results are kept: rerunning the command resumes where it stopped.
 *
 * @param file configuration file: its section train has the runs' defaults, harvest and eval are the stages before and
 * after
 * @throws Refusal at the end if runs failed; the others are complete, evaluated and in the report
 */
export async function sweep(
  config: SweepConfig,
  file: string | undefined,
  progress: Progress,
  stop: StopRequest,
): Promise<SweepResult> {
  const takeOver = { unchecked: config.takeOver, say: (line: string) => progress.say(line) };
  const claim = { overwrite: false, resume: true, ours: () => false, takeOver };
  const work = () =>
    stages(config, file, progress, stop).catch(async (error) => {
      await removeLonePlan(config.out);
      throw error;
    });
  try {
    if (config.shard === undefined) return await asOwner([config.out], claim, work);
    // Concurrent tasks write to it: each SAE has an owner, the sweep itself has none.
    await checkUnlocked(config.out, takeOver);
    const made = await makeDirectory(config.out);
    return await work().finally(() => made !== undefined && removeEmpty(config.out, made));
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    throw new Interrupted(error.signal, `what is done is kept in ${config.out}; rerun the same command to resume.`);
  }
}

async function stages(
  config: SweepConfig,
  file: string | undefined,
  progress: Progress,
  stop: StopRequest,
): Promise<SweepResult> {
  const has = (stage: 'eval' | 'report') => file !== undefined && Object.keys(section(file, stage)).length > 0;
  const stores = config.activations ?? join(config.out, 'activations');
  const { hooks, known, runs: groups } = await sweepHooks(config, file, stop);
  const runs = sweepRuns({ ...config, runs: groups }, hooks, stores, file, known);
  for (const run of runs) await checkTracking(run.config);
  // Problems of the evaluation stop the sweep here, before hours of training.
  if (has('eval')) {
    await checkEvaluation(evaluationConfig(config, file!, [config.out]));
    loadConfig('report', pageOf(config), has('report') ? file : undefined);
  }
  const command = file === undefined ? null : sweepCommand(config, file);
  const plan = { saes: runs.map(({ name }) => name), evaluated: has('eval'), command };
  const part = shareNamed(config.shard);
  if (part !== undefined) checkStageOfShare(config);
  const harvests = config.activations === undefined && (part === undefined || config.until === 'harvest');
  const hook = [...hooks, ...targetsOf(runs, hooks)];
  const harvesting = harvests ? harvestOf(config, file, hook, stores) : undefined;
  await writePlan(config.out, plan);
  if (harvesting) await harvestStores(harvesting, part, progress, stop);
  if (config.until === 'harvest') return { outcomes: [], ...NOTHING };

  const tokens = await tokensOf(runs);
  const share = part ? divide(runs, part.of, (run) => tokens.get(run)! * run.config.dSae)[part.index]! : runs;
  if (part) progress.say(toldShare(share, runs, part));
  const outcomes = await trained(share, tokens, progress, stop);

  const result =
    part !== undefined || config.until === 'train' || !has('eval')
      ? NOTHING
      : await evaluated(config, file!, runs, outcomes, progress, stop);
  const failed = outcomes.flatMap(({ run, state }) =>
    typeof state === 'string' ? [] : [`${run.name}: ${state.failed}`],
  );
  if (failed.length > 0) {
    throw new Refusal(
      `${failed.length} of ${share.length} SAEs failed. ${failed.join(' ')}`,
      'The others are complete; fix the problem and rerun the same command.',
      'sweep/runs-failed',
    );
  }
  if (config.strict || runs.some((run) => run.config.strict)) checkUseful(outcomes);
  return { outcomes, ...result };
}

/** Trains runs; those that share a pass over the store are trained together. */
async function trained(
  runs: readonly SweepRun[],
  tokens: ReadonlyMap<SweepRun, number>,
  progress: Progress,
  stop: StopRequest,
): Promise<Outcome[]> {
  const oneHook = new Set(runs.map(({ name }) => dirname(name))).size === 1;
  const rows = runs.map((run) => ({ label: oneHook ? basename(run.name) : run.name, total: tokens.get(run)! }));
  const table = progress.table('training', rows, 'token');
  const outcomes: Outcome[] = [];
  for (const wave of waves(runs)) {
    for (const together of sharingOrder(wave)) {
      outcomes.push(...(await trainRuns(together, table, (run) => runs.indexOf(run), progress, stop)));
    }
  }
  progress.end();
  return outcomes;
}

/**
 * The harvest that writes a sweep's stores: the section harvest of its file.
 *
 * @param hook names of the hooks
 * @param out directory of the stores
 * @throws UsageRefusal if there is no such section, or it is for a part
 */
function harvestOf(config: SweepConfig, file: string | undefined, hook: readonly string[], out: string): HarvestConfig {
  if (file === undefined || Object.keys(section(file, 'harvest')).length === 0) {
    throw new UsageRefusal(
      'No source of activations is given.',
      'Add a section harvest to the file, or give a directory of stores with --activations.',
      'sweep/no-source',
    );
  }
  const harvesting = loadConfig('harvest', { hook: [...hook], out, resume: true, ...takenOver(config) }, file);
  if (harvesting.shard === undefined) return harvesting;
  throw new UsageRefusal(
    'The section harvest has shard, but a sweep needs the complete harvest.',
    'Omit it; sweep --shard i/n --until harvest harvests a part.',
    'sweep/harvest-of-part',
  );
}

/** For a sweep without an evaluation. */
const NOTHING = { records: [], report: undefined } as const;

/** Evaluates the complete SAEs, and draws the report unless the sweep ends before it. */
async function evaluated(
  config: SweepConfig,
  file: string,
  runs: readonly SweepRun[],
  outcomes: readonly Outcome[],
  progress: Progress,
  stop: StopRequest,
): Promise<Omit<SweepResult, 'outcomes'>> {
  // In the order of the runs, not of completion: a resumed sweep makes the same evaluation.
  const made = new Set(outcomes.filter(({ state }) => typeof state === 'string').map(({ run }) => run));
  const whole = runs.filter((run) => made.has(run)).map(({ config }) => config.out);
  if (whole.length === 0) return NOTHING;
  const trained = outcomes.some(({ state }) => state !== 'finished before');
  const wanted = evaluationConfig(config, file, whole);
  const records = await evaluateOnce(wanted, progress, stop, trained, sweepCommand(config, file));
  const logs = runs.flatMap((run) => (made.has(run) && run.config.logDir ? [run.config.logDir] : []));
  if (logs.length > 0) await logEvaluation(records, logs, wanted, (line) => progress.say(line));
  if (config.until === 'eval') return { records, report: undefined };
  const drawn = Object.keys(section(file, 'report')).length > 0 ? file : undefined;
  // Loaded where it is drawn: what draws takes half a second to load.
  const { writeReport } = await import('../report/report.js');
  return { records, report: await writeReport(loadConfig('report', pageOf(config), drawn)) };
}

/** @throws Refusal naming the runs with useless SAEs; all SAEs are complete */
function checkUseful(outcomes: readonly Outcome[]): void {
  const useless = outcomes.filter(({ faults }) => faults.length > 0);
  if (useless.length === 0) return;
  const reasons = useless.map(({ run, faults }) => `${run.name}: ${faults.map(({ message }) => message).join(' ')}`);
  throw new Refusal(
    `${useless.length} of ${outcomes.length} SAEs are written, but useless (--strict). ${reasons.join(' ')}`,
    [...new Set(useless.flatMap(({ faults }) => faults.map(({ remedy }) => remedy)))].join(' '),
    'train/useless',
  );
}

/** The flags of a sweep's report, overriding the file's section. */
export const pageOf = ({ out }: SweepConfig) => ({
  evaluation: join(out, 'eval'),
  out: join(out, 'report.html'),
  overwrite: true,
});

/** --take-over for a stage of the sweep, whose section of the file may also set it. */
const takenOver = ({ takeOver }: SweepConfig) => (takeOver ? { 'take-over': true } : {});

/** Target hooks of runs, in addition to the sweep's hooks. */
function targetsOf(runs: readonly SweepRun[], hooks: readonly string[]): string[] {
  const targets = runs.flatMap(({ config }) => (config.target === undefined ? [] : [basename(config.target)]));
  return [...new Set(targets)].filter((hook) => !hooks.includes(hook));
}

/** Number of activations that each run trains on. Manifests of large stores are read once for all runs. */
async function tokensOf(runs: readonly SweepRun[]): Promise<Map<SweepRun, number>> {
  const manifests = new Map<string, Manifest>();
  const tokens = new Map<SweepRun, number>();
  for (const run of runs) {
    const named = run.config.activations!;
    const manifest = manifests.get(named) ?? (await findStore(named)).manifest;
    manifests.set(named, manifest);
    tokens.set(run, stepsOf(run.config, manifest) * run.config.batch);
  }
  return tokens;
}

/**
 * Configuration of a sweep's evaluation: the file's section eval. Its model defaults to the harvest's.
 *
 * @param sae directories of the SAEs
 * @throws UsageRefusal if something is missing or invalid
 */
export function evaluationConfig(config: SweepConfig, file: string, sae: readonly string[]): EvalConfig {
  const evaluation = section(file, 'eval');
  const { model, revision } = section(file, 'harvest');
  const takeOver = config.takeOver ? { 'take-over': true } : {};
  const inherited =
    evaluation.model === undefined && model !== undefined
      ? { model, ...(revision !== undefined && evaluation.revision === undefined && { revision }) }
      : {};
  const out = join(config.out, 'eval');
  return loadConfig('eval', { ...inherited, sae: [...sae], out, overwrite: true, ...takeOver }, file);
}

/** @throws Refusal if the text of the evaluation does not exist or is not readable */
async function checkEvaluation(config: EvalConfig): Promise<void> {
  await openCorpus({ ...config, resume: true }, { say() {} });
}

/** The command of this sweep, which reproduces its SAEs; null if its file was a pipe. */
function sweepCommand(config: SweepConfig, file: string): TrainingCommand | null {
  if (!isLasting(file)) return null;
  const words = ['--config', file, ...commandWords(sweepSchema, { ...config }), '--out', config.out];
  return { stage: 'sweep', directory: process.cwd(), words };
}

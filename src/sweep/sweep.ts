import { readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { loadConfig, section } from '../config/load.js';
import { Interrupted, Refusal, UsageRefusal } from '../config/refusal.js';
import type { SweepConfig } from '../config/stages.js';
import { asOwner } from '../disk/output-directory.js';
import { EVAL_FILE, evaluate } from '../eval/evaluate.js';
import type { EvalRecord } from '../eval/record.js';
import { harvest } from '../harvest/harvest.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { writeReport } from '../report/write.js';
import { type Outcome, trainRuns } from './pass.js';
import { type SweepRun, sweepRuns } from './runs.js';

/** What a sweep made. */
export interface SweepResult {
  readonly outcomes: readonly Outcome[];
  /** Empty where the file has no section eval. */
  readonly records: readonly EvalRecord[];
  /** The page, where there are records. */
  readonly report: string | undefined;
}

/**
 * Harvests the activations that are missing, trains every combination of the sweep's lists, evaluates all of them and
 * writes one report. What is there already is kept: the same command goes on where the last one stopped.
 *
 * @param file configuration file: its section train is below every run, harvest and eval are the stages before and after
 * @throws Refusal at the end when runs failed; those that did not are whole, evaluated and in the report
 */
export async function sweep(
  config: SweepConfig,
  file: string | undefined,
  progress: Progress,
  stop: StopRequest,
): Promise<SweepResult> {
  const claim = { overwrite: false, resume: true, ours: () => false };
  try {
    return await asOwner([config.out], claim, () => stages(config, file, progress, stop));
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    throw new Interrupted(error.signal, `what is done is kept in ${config.out}; go on with the same command.`);
  }
}

async function stages(
  config: SweepConfig,
  file: string | undefined,
  progress: Progress,
  stop: StopRequest,
): Promise<SweepResult> {
  const has = (stage: 'harvest' | 'eval' | 'report') =>
    file !== undefined && Object.keys(section(file, stage)).length > 0;
  const stores = config.activations ?? join(config.out, 'activations');
  const hooks = config.hook ?? (file === undefined ? [] : [section(file, 'harvest').hook ?? []].flat().map(String));
  if (hooks.length === 0)
    throw new UsageRefusal('The sweep has no hook.', 'Give --hook, or a section harvest with one.');
  const runs = sweepRuns(config, hooks, stores, file);
  if (config.activations === undefined) {
    if (!has('harvest')) {
      throw new UsageRefusal(
        'There is nothing to take activations from.',
        'Give the file a section harvest, or name a directory of stores with --activations.',
      );
    }
    await harvest(loadConfig('harvest', { hook: hooks, out: stores, resume: true }, file), progress, stop);
  }

  const total = (run: SweepRun) => (run.config.steps ?? 0) * run.config.batch || (run.config.tokens ?? 0);
  const table = progress.table(
    'training',
    runs.map((run) => ({ label: hooks.length === 1 ? basename(run.name) : run.name, total: total(run) })),
    'token',
  );
  const outcomes: Outcome[] = [];
  for (const wave of waves(runs)) {
    for (const together of sharingOrder(wave)) {
      outcomes.push(...(await trainRuns(together, table, (run) => runs.indexOf(run), progress, stop)));
    }
  }
  progress.end();

  const whole = outcomes.filter(({ state }) => typeof state === 'string').map(({ run }) => run.config.out);
  const result: { records: EvalRecord[]; report: string | undefined } = { records: [], report: undefined };
  if (has('eval') && whole.length > 0) {
    result.records = await evaluateAll(config, whole, file!, outcomes, progress, stop);
    const evaluation = join(config.out, 'eval');
    const page = { evaluation, out: join(config.out, 'report.html'), overwrite: true };
    result.report = await writeReport(loadConfig('report', page, has('report') ? file : undefined));
  }
  const failed = outcomes.flatMap(({ run, state }) =>
    typeof state === 'string' ? [] : [`${run.name}: ${state.failed}`],
  );
  if (failed.length > 0) {
    throw new Refusal(
      `${failed.length} of ${runs.length} SAEs failed. ${failed.join(' ')}`,
      'The others are whole; change the settings of those and run the same command.',
    );
  }
  return { outcomes, ...result };
}

/** Runs that start from an SAE of this sweep (--init) come after those that make one. */
function waves(runs: readonly SweepRun[]): SweepRun[][] {
  const made = new Set(runs.map((run) => resolve(run.config.out)));
  const later = (run: SweepRun) => run.config.init !== undefined && made.has(resolve(run.config.init));
  return [runs.filter((run) => !later(run)), runs.filter(later)];
}

/** Runs that read the same rows in the same order, together. */
function sharingOrder(runs: readonly SweepRun[]): SweepRun[][] {
  const groups = new Map<string, SweepRun[]>();
  for (const run of runs) {
    const { activations, order, seed, batch, poolRows } = run.config;
    const key = JSON.stringify([activations, order, seed, batch, poolRows]);
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  return [...groups.values()];
}

/** Evaluates the SAEs, unless nothing was trained since an evaluation of just these. */
async function evaluateAll(
  config: SweepConfig,
  sae: string[],
  file: string,
  outcomes: readonly Outcome[],
  progress: Progress,
  stop: StopRequest,
): Promise<EvalRecord[]> {
  const out = join(config.out, 'eval');
  const wanted = loadConfig('eval', { sae, out, overwrite: true }, file);
  if (outcomes.every(({ state }) => state === 'finished before')) {
    const text = await readFile(join(out, EVAL_FILE), 'utf8').catch(() => '[]');
    const before = JSON.parse(text) as EvalRecord[];
    const same = before.map((record) => record.sae).join('\n') === sae.join('\n');
    if (same && before.every(({ tokens }) => tokens === wanted.tokens)) return before;
  }
  return evaluate(wanted, progress, stop);
}

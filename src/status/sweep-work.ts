import { join } from 'node:path';
import { exists } from '../disk/input-file.js';
import { Refusal } from '../errors/refusal.js';
import { EVAL_FILE } from '../eval/record.js';
import { readPlan, type SweepPlan } from '../sweep/plan-file.js';
import { commandLine } from './command-line.js';
import type { Holder } from './owners.js';
import { heldState, type WorkStatus } from './work.js';

/**
 * The status of a sweep, from its plan and the status of its parts.
 *
 * @param parts found below its directory
 */
export async function sweepWork(
  directory: string,
  holder: Holder | undefined,
  parts: readonly WorkStatus[],
): Promise<WorkStatus> {
  const work = { kind: 'sweep', directory } as const;
  let plan: SweepPlan;
  try {
    plan = await readPlan(directory);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    // There is no plan before the first run.
    if (holder !== undefined && error.code === 'disk/no-json') return { ...work, state: heldState(holder) };
    return { ...work, state: 'failed', reason: error.message };
  }
  const finished = new Set(parts.flatMap((part) => (part.state === 'finished' ? [part.directory] : [])));
  const done = plan.saes.filter((name) => finished.has(join(directory, 'saes', name))).length;
  const told = { ...work, done, total: plan.saes.length, unit: 'SAE' } as const;
  const whole = done === plan.saes.length && (!plan.evaluated || (await isEvaluated(directory, finished)));
  const held = heldState(holder) === 'running' || parts.some(({ state }) => state === 'running' || state === 'stalled');
  if (held) return { ...told, state: 'running' };
  if (whole) return { ...told, state: 'finished' };
  const resume = plan.command && commandLine('sweep', plan.command, ['--out', directory]);
  return { ...told, state: 'stopped', ...(resume && { resume }) };
}

async function isEvaluated(directory: string, finished: ReadonlySet<string>): Promise<boolean> {
  const evaluation = join(directory, 'eval');
  if (!finished.has(evaluation) || !(await exists(join(evaluation, EVAL_FILE)))) return false;
  return exists(join(directory, 'report.html'));
}

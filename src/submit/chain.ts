import { resolve } from 'node:path';
import { section } from '../config/config-file.js';
import { loadConfig } from '../config/load.js';
import type { SweepConfig } from '../config/stages/sweep.js';
import { UsageRefusal } from '../errors/refusal.js';
import { evaluationConfig, pageOf } from '../sweep/sweep.js';
import type { Work } from './script.js';
import { TASK, TASKS, withoutFlag } from './shell-words.js';

/** The stages of a sweep, each a job of its chain. */
export const CHAIN_STAGES = ['harvest', 'train', 'eval', 'report'] as const;

/** Stages whose work the tasks of an array can share. */
export const DIVIDED_STAGES = ['harvest', 'train'] as const;

/** Number of tasks that share a stage; if absent, one job does all of it. */
export type TasksOfStages = { readonly [stage in (typeof DIVIDED_STAGES)[number]]?: number };

/** A sweep to submit. */
interface SubmittedSweep {
  readonly config: SweepConfig;
  /** Its configuration file. */
  readonly file: string | undefined;
  /** The flags of its command, including --config. */
  readonly words: readonly string[];
}

/** The sweep that a configuration file describes. */
export function sweepOf(file: string): SubmittedSweep {
  return { config: loadConfig('sweep', {}, file), file, words: ['--config', resolve(file)] };
}

/**
 * A sweep as consecutive jobs, so that each requests only its stage's time and none holds a node while
 * another runs. Each is the sweep's own command, which keeps existing results and stops after its stage; the final
 * result has the bytes of a sweep run in one go.
 *
 * @throws UsageRefusal if the sections of its file do not fit
 */
export function chainOf({ config, file, words }: SubmittedSweep, tasksOf: TasksOfStages = {}): Work[] {
  const { out, activations, until } = config;
  const has = (stage: 'eval' | 'report') => file !== undefined && Object.keys(section(file, stage)).length > 0;
  // Mistakes in a section of a later job are refused here, not hours later on a node.
  // The sweep itself determines the hooks; any hook will do for this check.
  if (activations === undefined) loadConfig('harvest', { hook: ['blocks.0.hook_resid_post'], out }, file);
  if (has('eval')) {
    evaluationConfig(config, file!, [out]);
    loadConfig('report', pageOf(config), has('report') ? file : undefined);
  }
  const all = CHAIN_STAGES.filter((stage) => {
    if (stage === 'harvest') return activations === undefined;
    return stage === 'train' || has('eval');
  });
  const end = CHAIN_STAGES.indexOf(until ?? 'report');
  const stages = all.filter((stage) => CHAIN_STAGES.indexOf(stage) <= end);
  if (stages.length === 0) {
    throw new UsageRefusal(
      `--until ${until} leaves nothing to submit: --activations is given, so nothing is harvested.`,
      'Omit --until.',
      'submit/no-stage',
    );
  }
  const divided = stages.some((name) => tasksIn(tasksOf, name) !== undefined);
  const given = withoutFlag(divided ? withoutFlag(words, 'shard') : words, 'until');
  return stages.map((name, i) => {
    const tasks = tasksIn(tasksOf, name);
    const toTheEnd = i === stages.length - 1 && until === undefined;
    const share = tasks === undefined ? [] : ['--shard', `${TASK}/${TASKS}`];
    const stop = toTheEnd ? [] : ['--until', name];
    return { stage: 'sweep', words: [...given, ...share, ...stop], out, name, ...(tasks !== undefined && { tasks }) };
  });
}

function tasksIn(tasksOf: TasksOfStages, name: (typeof CHAIN_STAGES)[number]): number | undefined {
  const divided = DIVIDED_STAGES.find((stage) => stage === name);
  return divided && tasksOf[divided];
}

import { loadConfig } from '../config/load.js';
import type { SubmitConfig } from '../config/stages/submit.js';
import { listed } from '../config/suggest.js';
import { UsageRefusal } from '../errors/refusal.js';
import { CHAIN_STAGES, DIVIDED_STAGES, type TasksOfStages } from './chain.js';

/** What a stage of a chain may ask for by itself. */
const RESOURCES = ['partition', 'gres', 'time', 'cpus', 'mem', 'sbatch'] as const;
/** The same for a stage that tasks can share. */
const OF_DIVIDED = [...RESOURCES, 'array'] as const;

/**
 * The configuration of the job of one stage: what `stages` says of the stage counts before what is said of all jobs.
 *
 * @param name of the stage; undefined for a job that is not of a chain
 * @throws UsageRefusal for a key that is not a resource, or a value that does not fit
 */
export function forStage(config: SubmitConfig, name: string | undefined): SubmitConfig {
  const own = name === undefined ? undefined : config.stages?.[name];
  if (own === undefined) return config;
  const where = (key: string) => `submit.stages.${name}.${key}`;
  const known = DIVIDED_STAGES.some((stage) => stage === name) ? OF_DIVIDED : RESOURCES;
  const wrong = Object.keys(own).find((key) => !known.some((resource) => resource === key));
  if (wrong !== undefined) {
    throw new UsageRefusal(
      `${where(wrong)} is not a resource of that job.`,
      `Stage ${name} may have ${listed(known)}.`,
      'config/unknown-flag',
    );
  }
  const parsed = loadConfig('submit', { scheduler: config.scheduler, ...own }, undefined, {}, where);
  const given = known.filter((key) => key in own).map((key) => [key, parsed[key]]);
  return { ...config, ...Object.fromEntries(given) };
}

/**
 * Numbers of tasks of a chain. --array is the training's, where `stages` does not give another; only `stages` divides the
 * harvest, which needs a window for each part.
 *
 * @throws UsageRefusal as forStage
 */
export function tasksOfStages(config: SubmitConfig): TasksOfStages {
  const harvest = config.stages?.harvest && 'array' in config.stages.harvest;
  return {
    harvest: harvest ? forStage(config, 'harvest').array : undefined,
    train: forStage(config, 'train').array,
  };
}

/**
 * Checks all that `stages` says, so that a key of a stage that is misspelt is not simply without effect.
 *
 * @param works names of the jobs there are
 * @throws UsageRefusal naming a stage that there is not
 */
export function checkStages(config: SubmitConfig, works: readonly (string | undefined)[]): void {
  for (const name of Object.keys(config.stages ?? {})) {
    if (!CHAIN_STAGES.some((stage) => stage === name)) {
      throw new UsageRefusal(
        `submit.stages.${name} is not a stage of a sweep.`,
        `They are ${listed(CHAIN_STAGES)}.`,
        'config/unknown-flag',
      );
    }
    forStage(config, name);
  }
  if (config.stages === undefined || works.some((name) => name !== undefined)) return;
  throw new UsageRefusal(
    'submit.stages is about the jobs of a sweep, and one command is submitted.',
    'Leave it out, or submit the sweep with --chain.',
    'submit/chain-and-command',
  );
}

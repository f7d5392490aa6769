import { loadConfig } from '../config/load.js';
import type { SubmitConfig } from '../config/stages/submit.js';
import { listed } from '../config/suggest.js';
import { UsageRefusal } from '../errors/refusal.js';
import { CHAIN_STAGES, DIVIDED_STAGES, type TasksOfStages } from './chain.js';

/** Resources that can be set per stage of a chain. */
const RESOURCES = ['partition', 'gres', 'time', 'cpus', 'mem', 'sbatch'] as const;
/** The same for a stage that tasks can share. */
const OF_DIVIDED = [...RESOURCES, 'array'] as const;

/**
 * The configuration of the job of one stage: its settings in `stages` take precedence over those for all jobs.
 *
 * @param name of the stage; undefined for a job outside of a chain
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
 * Numbers of tasks of a chain. --array applies to the training, unless `stages` gives another number; only `stages`
 * divides the harvest, which needs a window for each part.
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
 * Checks all of `stages`, so that a misspelt key or stage is not silently ignored.
 *
 * @param works names of the jobs; undefined for one outside of a chain
 * @throws UsageRefusal naming a stage that does not exist
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
    'submit.stages applies to the jobs of a sweep, but a single command is submitted.',
    'Omit it, or submit the sweep with --chain.',
    'submit/chain-and-command',
  );
}

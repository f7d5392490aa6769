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

/** A sweep as it was asked for. */
interface AskedSweep {
  readonly config: SweepConfig;
  /** Its configuration file. */
  readonly file: string | undefined;
  /** The flags of its command, --config among them. */
  readonly words: readonly string[];
}

/** The sweep that a configuration file describes. */
export function sweepOf(file: string): AskedSweep {
  return { config: loadConfig('sweep', {}, file), file, words: ['--config', resolve(file)] };
}

/**
 * A sweep as jobs that follow one another, so that each asks for its own stage's time and none holds a node while
 * another works. Each is the sweep's own command, which keeps what is there and stops after its stage; the last one ends
 * in the bytes of a sweep in one go.
 *
 * @param tasks number of tasks that share the training; undefined: one job trains all
 * @throws UsageRefusal where the sections of its file do not fit
 */
export function chainOf({ config, file, words }: AskedSweep, tasks?: number): Work[] {
  const { out, activations, until } = config;
  const has = (stage: 'eval' | 'report') => file !== undefined && Object.keys(section(file, stage)).length > 0;
  // What is wrong in a section of a later job is told here, not hours later on a node.
  // The sweep itself says which hooks: any stands for them here.
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
      `--until ${until} leaves nothing to submit: the activations are there.`,
      'Leave --until out.',
      'submit/no-stage',
    );
  }
  const given = withoutFlag(tasks === undefined ? words : withoutFlag(words, 'shard'), 'until');
  return stages.map((name, i) => {
    const shared = name === 'train' && tasks !== undefined;
    const toTheEnd = i === stages.length - 1 && until === undefined;
    const share = shared ? ['--shard', `${TASK}/${TASKS}`] : [];
    const stop = toTheEnd ? [] : ['--until', name];
    return { stage: 'sweep', words: [...given, ...share, ...stop], out, name, ...(shared && { tasks }) };
  });
}

import type { SubmitConfig } from '../config/stages/submit.js';
import { UsageRefusal } from '../errors/refusal.js';

/** Options of sbatch that are flags of `submit`. */
const FLAGS: Readonly<Record<string, string>> = {
  partition: 'partition',
  gres: 'gres',
  time: 'time',
  'cpus-per-task': 'cpus',
  mem: 'mem',
  array: 'array',
};
/** Options that the script sets or relies on. */
const OWN = ['signal', 'requeue', 'no-requeue', 'output', 'error', 'open-mode', 'chdir', 'dependency', 'parsable'];
/** Options that would run the command several times, or not at all. */
const UNFIT = ['ntasks', 'ntasks-per-node', 'wrap', 'test-only', 'wait'];

/** Seconds of a time in Slurm's format (sbatch(1), --time). */
export function secondsOf(time: string): number {
  const [days, clock] = time.includes('-') ? time.split('-') : [undefined, time];
  const [a = 0, b = 0, c = 0] = clock!.split(':').map(Number);
  if (days !== undefined) return Number(days) * 86_400 + a * 3600 + b * 60 + c;
  return clock!.split(':').length === 3 ? a * 3600 + b * 60 + c : a * 60 + b;
}

/**
 * Lines `#SBATCH …` for the resources of a job.
 *
 * @param tasks of an array; undefined: one job
 * @throws UsageRefusal for an option that `submit` sets itself, one that does not fit, and a time that is too short
 */
export function resourceOptions(config: SubmitConfig, tasks?: number): string[] {
  const { time, notice } = config;
  // Slurm may send the notice a minute early; a job that is noticed at once would be requeued forever.
  if (time !== undefined && secondsOf(time) !== 0 && secondsOf(time) < notice + 60) {
    throw new UsageRefusal(
      `--time ${time} leaves no time to work: the job gets its notice ${notice} s before its end, or up to a minute earlier.`,
      'Use a longer --time, or a shorter --notice.',
      'submit/time-too-short',
    );
  }
  const named = Object.entries(FLAGS).flatMap(([option, flag]) => {
    if (option === 'array') return tasks === undefined ? [] : [`--array=0-${tasks - 1}`];
    const value = config[flag as 'partition' | 'gres' | 'time' | 'cpus' | 'mem'];
    return value === undefined ? [] : [`--${option}=${value}`];
  });
  return [...named, ...(config.sbatch ?? []).map(otherOption)];
}

function otherOption(text: string): string {
  const [, key, , value] = /^([a-z][a-z0-9-]*)(=(.+))?$/s.exec(text) ?? [];
  if (key === undefined || /["\\\p{Cc}]/u.test(value ?? '')) {
    throw new UsageRefusal(
      `--sbatch ${JSON.stringify(text)} is not an option of sbatch.`,
      'Write KEY=VALUE with the long name of the option, without dashes, quotes or line breaks: account=physics.',
      'submit/not-an-option',
    );
  }
  const flag = FLAGS[key];
  if (flag !== undefined || OWN.includes(key) || UNFIT.includes(key)) {
    const why = UNFIT.includes(key) ? 'would not run the command once per job' : 'is set by submit itself';
    throw new UsageRefusal(
      `--sbatch ${key} ${why}.`,
      flag === undefined ? 'Omit it.' : `Use --${flag}.`,
      'submit/own-option',
    );
  }
  if (value === undefined) return `--${key}`;
  return /^[\w.,:=@/%[\]+*|&()-]+$/.test(value) ? `--${key}=${value}` : `--${key}="${value}"`;
}

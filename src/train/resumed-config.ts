import { section } from '../config/config-file.js';
import { type Flag, flagsOf, recordName } from '../config/flags.js';
import { loadConfig, withoutRivals } from '../config/load.js';
import { BEFORE_FLAGS, flagOfRun, isRecorded, readRunFlags } from '../config/run-file.js';
import { type TrainConfig, trainSchema } from '../config/stages/train.js';
import { UsageRefusal } from '../errors/refusal.js';
import { cores } from '../machine/cores.js';
import { type Finished, finishedIn } from './run-directory.js';
import { newestCheckpoint } from './training-checkpoint.js';

/**
 * The configuration of `train`. With --resume, flags that are not given are taken from the run in --out, so that `train
 * --resume --out DIR` suffices.
 *
 * @param given values from the command line, by flag name
 * @param file the configuration file
 * @throws UsageRefusal if a flag differs from the run's, naming it
 */
export async function trainConfig(given: Readonly<Record<string, unknown>>, file?: string): Promise<TrainConfig> {
  const fromFile = file === undefined ? {} : withoutRivals(section(file, 'train'), 'train', given);
  const explicit: Readonly<Record<string, unknown>> = { ...fromFile, ...given };
  const { resume, out } = explicit;
  if (resume !== true || typeof out !== 'string') return loadConfig('train', given, file);
  const flags = await readRunFlags(out);
  const finished = await finishedIn(out);
  const recorded = flags ?? (finished && flagsOfFinished(finished));
  if (recorded === undefined) {
    if ('d-sae' in explicit) return loadConfig('train', given, file);
    throw new UsageRefusal(
      `${out} contains no run to resume.`,
      'Check --out, or give the flags of a new run.',
      'train/no-run',
    );
  }
  const config = loadConfig('train', given, file, withoutRivals(recorded, 'train', explicit));
  // A finished SAE's cfg.json has resulting values, such as the capped warm-up; they are compared later. A run that
  // left nothing but its flags is not resumed: it may start with others.
  const begun = finished !== undefined || (await newestCheckpoint(out)) !== undefined;
  if (flags && begun) checkSame(out, loadConfig('train', { out }, undefined, flags), config, explicit);
  return config;
}

function checkSame(
  out: string,
  before: TrainConfig,
  now: TrainConfig,
  explicit: Readonly<Record<string, unknown>>,
): void {
  const differs = ({ key, name }: Flag) =>
    name in explicit &&
    ['result', 'activations'].includes(flagOfRun(key)) &&
    JSON.stringify(before[key as keyof TrainConfig]) !== JSON.stringify(now[key as keyof TrainConfig]);
  const changed = flagsOf(trainSchema).filter(differs);
  if (changed.length === 0) return;
  const said = changed.map(({ key, name }) => {
    const [then, given] = [before, now].map((config) => words(config[key as keyof TrainConfig]));
    return `--${name} ${then}, but this command has ${given}`;
  });
  throw new UsageRefusal(
    `The run in ${out} has ${said.join('; ')}.`,
    `Omit ${changed.map(({ name }) => `--${name}`).join(', ')} : a run keeps its settings. Or start a new run, into another --out or with --overwrite.`,
    'train/other-settings',
  );
}

const words = (value: unknown) => (value === undefined ? 'not given' : [value].flat().join(',') || 'none');

/** Flags of a finished SAE without run.json, from its cfg.json. */
function flagsOfFinished({ settings }: Finished): Record<string, unknown> {
  const flags = flagsOf(trainSchema).flatMap(({ key, name }) => {
    const value = isRecorded(key) ? settings[recordName(key)] : undefined;
    if (value === undefined || value === null) return [];
    return key === 'decaySteps' && value === 0 ? [] : [[name, value] as const];
  });
  return { ...BEFORE_FLAGS, ...Object.fromEntries(flags) };
}

/**
 * The configuration with its number of threads: as given, otherwise as before the run was stopped, otherwise one per
 * core. The sparse engine adds up its threads' partial sums, so their number affects the last bits: resuming on another
 * machine must not change it unasked.
 *
 * @param say told if the number differs from before
 */
export async function withOwnThreads(config: TrainConfig, say: (line: string) => void): Promise<TrainConfig> {
  const { resume, out, model } = config;
  const found = resume && (await newestCheckpoint(out)) ? (await readRunFlags(out))?.threads : undefined;
  const before = Number.isInteger(found) && (found as number) > 0 ? (found as number) : undefined;
  const threads = config.threads || (before ?? cores());
  if (before !== undefined && threads !== before) {
    say(
      `--threads ${threads}: the run had ${before} so far, so that its last bits may differ from an undisturbed run's.`,
    );
  }
  const modelThreads = model === undefined ? config.modelThreads : config.modelThreads || cores();
  return { ...config, threads, modelThreads };
}

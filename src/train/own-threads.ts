import { availableParallelism } from 'node:os';
import type { TrainConfig } from '../config/stages.js';
import { newestCheckpoint } from './checkpoint.js';
import { readRunFlags } from './run-file.js';

/**
 * The configuration with the number of threads that the run has: as told, else as many as it had before it was stopped,
 * else one per core. The sparse engine adds up partial sums of its threads, so their number decides last bits: a run that
 * is resumed on another machine must not change it unasked.
 *
 * @param say told where the number is another than before
 */
export async function withOwnThreads(config: TrainConfig, say: (line: string) => void): Promise<TrainConfig> {
  const { resume, out, model } = config;
  const found = resume && (await newestCheckpoint(out)) ? (await readRunFlags(out))?.threads : undefined;
  const before = Number.isInteger(found) && (found as number) > 0 ? (found as number) : undefined;
  const threads = config.threads || (before ?? availableParallelism());
  if (before !== undefined && threads !== before) {
    say(
      `--threads ${threads}: the run had ${before} so far, so that its last bits may differ from an undisturbed run's.`,
    );
  }
  const modelThreads = model === undefined ? config.modelThreads : config.modelThreads || availableParallelism();
  return { ...config, threads, modelThreads };
}

import assert from 'node:assert/strict';
import type { TrainConfig } from '../../src/config/stages/train.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { train } from '../../src/train/train.js';
import { filesBelow } from '../temporary.js';

/** Begins or resumes a run that is stopped after this many steps, and ends unfinished. */
export async function interrupted(config: TrainConfig, steps: number): Promise<void> {
  const stop: StopRequest = { signal: undefined };
  const update = (done: number) => {
    if (done >= steps * config.batch) stop.signal = 'SIGINT';
  };
  await assert.rejects(train(config, { ...silent, update }, stop), Interrupted);
}

/**
 * A run that is stopped half-way and resumed leaves the SAE that it would have left.
 *
 * @param whole directory of the run that was not stopped
 * @param steps after which it is stopped
 */
export async function assertResumes(config: TrainConfig, whole: string, steps: number): Promise<void> {
  await interrupted(config, steps);
  await train({ ...config, resume: true }, silent, { signal: undefined });
  const [expected, found] = [filesBelow(whole), filesBelow(config.out)];
  for (const name of ['cfg.json', 'sae_weights.safetensors'])
    assert.deepEqual(found.get(name), expected.get(name), name);
}

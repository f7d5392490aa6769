import assert from 'node:assert/strict';
import type { TrainConfig } from '../../src/config/stages/train.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { train } from '../../src/train/train.js';
import { filesBelow } from '../temporary.js';

/**
 * A run that is stopped in its midst, and resumed, leaves the SAE that it would have left.
 *
 * @param whole directory of the run that was not stopped
 * @param looks how often it asks whether to stop before it is told to; about once a step
 */
export async function assertResumes(config: TrainConfig, whole: string, looks: number): Promise<void> {
  let asked = 0;
  const stop: StopRequest = {
    get signal() {
      return ++asked > looks ? ('SIGINT' as const) : undefined;
    },
  };
  await assert.rejects(train(config, silent, stop), Interrupted);
  await train({ ...config, resume: true }, silent, { signal: undefined });
  const [expected, found] = [filesBelow(whole), filesBelow(config.out)];
  for (const name of ['cfg.json', 'sae_weights.safetensors'])
    assert.deepEqual(found.get(name), expected.get(name), name);
}

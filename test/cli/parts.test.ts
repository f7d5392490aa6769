import assert from 'node:assert/strict';
import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inspectSchema } from '../../src/config/stages/machine.js';
import { inspectStore } from '../../src/inspect/inspect.js';
import { silent } from '../../src/progress/progress.js';
import { trainingRecordOf } from '../../src/sae/training-record.js';
import { HOOK, harvestWords, made, succeeds, trainWords } from '../faults/commands.js';
import { temporaryDirectory } from '../temporary.js';
import { logged, refused, refusedUsage } from './refused.js';
import { run, startIn } from './run-program.js';

test('an SAE of two parts is that of one harvest, byte for byte; a part that is missing is refused', async (t) => {
  const root = temporaryDirectory(t);
  const [acts, sae] = [join(root, 'acts'), join(root, 'sae')];
  await succeeds([...harvestWords(acts), '--shard', '0/2']);
  const task = startIn({ SLURM_ARRAY_TASK_ID: '1' }, ...harvestWords(acts), '--shard', 'auto/2');
  const { code, stdout, stderr } = await task.outcome;
  assert.equal(code, 0, stderr);
  assert.equal(stdout.trim(), join(acts, HOOK, 'part-1-of-2'));
  refused(await run(...logged(harvestWords(acts))), 'harvest/other-parts', 'part of 2');
  refused(await run(...logged([...harvestWords(acts), '--shard', '7/9'])), 'harvest/other-parts');
  const none = [...harvestWords(join(root, 'none')), '--shard', '4/4'];
  refusedUsage(await run(...logged(none)), 'harvest/no-such-part');

  await succeeds(trainWords(acts, sae));
  const whole = await made();
  const bytes = (directory: string, name: string) => readFileSync(join(directory, name));
  assert.deepEqual(bytes(sae, 'sae_weights.safetensors'), bytes(whole.sae, 'sae_weights.safetensors'));
  const curve = (directory: string) =>
    bytes(directory, 'metrics.jsonl')
      .toString('utf8')
      .replace(/"tokens_per_second":\d+/g, '');
  assert.equal(curve(sae), curve(whole.sae));
  const record = (directory: string) =>
    trainingRecordOf(JSON.parse(bytes(directory, 'cfg.json').toString('utf8'))).activations;
  assert.deepEqual(record(sae), record(whole.sae));

  // Finished, on the same rows: nothing is left to do.
  await succeeds([...trainWords(whole.store, sae), '--resume']);

  const inspect = (store: string) => inspectStore(inspectSchema.parse({ store }), silent, { signal: undefined });
  const [parts, one] = [await inspect(acts), await inspect(whole.store)];
  assert.deepEqual([parts.rows, parts.longest_tokens], [one.rows, one.longest_tokens]);
  assert.ok(Math.abs(parts.gamma.raw - one.gamma.raw) < 1e-9 * one.gamma.raw);

  renameSync(join(acts, HOOK, 'part-0-of-2'), join(root, 'elsewhere'));
  const again = trainWords(acts, sae, { tokens: 3200 });
  refused(await run(...logged([...again, '--resume'])), 'activations/parts-missing', '0/2');
});

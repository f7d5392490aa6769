import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadConfig } from '../../src/config/load.js';
import { silent } from '../../src/progress/progress.js';
import { sweep } from '../../src/sweep/sweep.js';
import { refuses } from '../config/refuses.js';
import { harvestTokens } from '../harvest/token-harvest.js';
import { temporaryDirectory } from '../temporary.js';

test('a share without an SAE keeps the plan for those that have begun; one that is refused leaves nothing', async (t) => {
  const root = temporaryDirectory(t);
  const [acts, out] = [join(root, 'acts'), join(root, 'sweep')];
  const file = join(root, 'sweep.yaml');
  writeFileSync(
    file,
    `train: {steps: 1, batch: 4}\nsweep: {activations: ${acts}, hook: token, out: ${out}, arch: [standard], d-sae: [4]}\n`,
  );
  const share = (shard: string) => sweep(loadConfig('sweep', { shard }, file), file, silent, { signal: undefined });
  await refuses(() => share('1/2'), 'activations/not-a-store', acts);
  assert.ok(!existsSync(out));
  await harvestTokens({ tokens: 30, out: join(acts, 'token') });
  assert.deepEqual((await share('1/2')).outcomes, []);
  assert.ok(existsSync(join(out, 'sweep.json')));
});

import assert from 'node:assert/strict';
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openStore } from '../../src/activations/store.js';
import { loadConfig } from '../../src/config/load.js';
import { silent } from '../../src/progress/progress.js';
import { sweep } from '../../src/sweep/sweep.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const HOOK = 'blocks.0.hook_mlp_out';

test('tasks harvest parts of a sweep’s stores; the sweep without --shard harvests the parts that are missing', async (t) => {
  const root = temporaryDirectory(t);
  const [file, out] = [join(root, 'sweep.yaml'), join(root, 'sweep')];
  const write = (tokens: number) =>
    writeFileSync(
      file,
      `harvest: {model: assets/tiny-gemma, corpus: assets/corpus/validation.jsonl.gz, hook: ${HOOK}, tokens: ${tokens}, context: 32, batch: 1, window-rows: 62}
train: {steps: 1, batch: 4, d-sae: 4}
sweep: {out: ${out}, arch: [standard]}
`,
    );
  const harvested = (shard?: string) =>
    sweep(loadConfig('sweep', { until: 'harvest', shard }, file), file, silent, { signal: undefined });
  const store = join(out, 'activations', HOOK);
  write(248);
  await harvested('1/2');
  assert.deepEqual(readdirSync(store), ['part-1-of-2']);
  const first = statSync(join(store, 'part-1-of-2', 'manifest.json')).mtimeMs;
  await harvested();
  assert.deepEqual(readdirSync(store), ['part-0-of-2', 'part-1-of-2']);
  assert.equal(statSync(join(store, 'part-1-of-2', 'manifest.json')).mtimeMs, first, 'it was complete');
  assert.equal((await openStore(store)).manifest.rows, 248);
  await harvested();
  // Other settings are noticed in complete parts too.
  write(310);
  await refuses(() => harvested(), 'harvest/fewer-tokens');
  await refuses(() => harvested('0/3'), 'harvest/other-parts');
});

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { logged, refused } from '../cli/refused.js';
import { run } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';
import { changedStore, changedTensor } from './damage.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const [GOOD, BAD] = ['blocks.1.hook_mlp_out', 'blocks.2.hook_mlp_out'];

test(
  'rows that are not finite, and a start that is not, fail the runs that have them and no other',
  onDemand,
  async () => {
    const root = temporaryDirectory();
    const stores = join(root, 'stores');
    mkdirSync(stores);
    const good = await tinyActivations(join(root, 'a'), GOOD);
    changedStore(good, join(stores, GOOD), 0, () => {});
    const bad = await tinyActivations(join(root, 'b'), BAD);
    changedStore(bad, join(stores, BAD), 3, (bits, d) => bits.fill(0x7e00, 17 * d, 17 * d + 1));
    const sae = join(root, 'sae');
    const trained = await run(
      'train',
      '--activations',
      good,
      '--d-sae',
      '100',
      '--steps',
      '3',
      '--batch',
      '64',
      '--out',
      sae,
    );
    assert.equal(trained.code, 0, trained.stderr);
    const init = changedTensor(sae, join(root, 'init'), 'sae_weights.safetensors', 'W_dec', (bytes) =>
      bytes.writeFloatLE(Number.NaN, 40),
    );
    const file = join(root, 'sweep.yaml');
    writeFileSync(
      file,
      `train: {steps: 55, batch: 64, d-sae: 100, order: stored, pool-rows: 1000, start: zero, b-dec-init: zero, normalize: mean-norm, max-activation-norm-multiple: 0}
sweep: {activations: ${stores}, runs: [{arch: gated, l1: [2, 6], hook: [${GOOD}, ${BAD}]}, {arch: gated, l1: 3, init: ${init}, hook: ${GOOD}}]}
`,
    );
    const out = join(root, 'out');
    const args = ['sweep', '--config', file, '--hook', GOOD, '--hook', BAD, '--out', out] as const;
    const row = /shard-00003\.arrow: row 17 \(context \d+, position \d+\) holds NaN/;
    refused(await run(...logged(args)), 'sweep/runs-failed', '3 of 5', row, /sae_weights\.safetensors .*NaN in W_dec/);
    for (const l1 of [2, 6]) {
      assert.ok(existsSync(join(out, 'saes', GOOD, `gated_l1-${l1}`, 'cfg.json')) || namesOf(out, GOOD, l1), 'whole');
    }
    // 46 batches of 64 rows lie before row 3000; both runs of the bad store keep those steps.
    const directories = readdirSync(join(out, 'saes', BAD));
    assert.equal(directories.length, 2);
    for (const directory of directories) {
      const names = readdirSync(join(out, 'saes', BAD, directory));
      assert.ok(names.includes('checkpoint-00000046.safetensors'), names.join());
      assert.ok(!names.includes('cfg.json'));
    }
  },
);

function namesOf(out: string, hook: string, l1: number): boolean {
  const named = readdirSync(join(out, 'saes', hook)).find((name) => name.includes(`l1-${l1}`));
  return named !== undefined && existsSync(join(out, 'saes', hook, named, 'cfg.json'));
}

import assert from 'node:assert/strict';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { sweepHooks } from '../../src/sweep/runs.js';
import { temporaryDirectory } from '../temporary.js';
import { logged, refusedUsage } from './refused.js';
import { run } from './run-program.js';

const root = temporaryDirectory();
const MODEL = ['--model', 'assets/tiny-gemma'];
const TEXT = [...MODEL, '--corpus', 'assets/corpus/validation.jsonl.gz', '--context', '64'];

test('hooks lists names and widths, and as JSON', async () => {
  const { code, stdout } = await run('hooks', ...MODEL);
  assert.equal(code, 0);
  assert.equal(stdout.trim().split('\n').length, 4 * 15 + 2);
  assert.match(stdout, /^blocks\.0\.mlp\.hook_post +\d+$/m);
  const json = await run('hooks', ...MODEL, '--json', '--hook', 'blocks.1.hook_resid_*');
  const sites = (JSON.parse(json.stdout) as { site: string }[]).map(({ site }) => site);
  assert.deepEqual(sites, ['hook_resid_pre', 'hook_resid_mid', 'hook_resid_post']);
});

test('a harvest takes patterns and lists; doctor counts their hooks', async () => {
  const out = join(root, 'acts');
  const hooks = ['--hook', 'blocks.*.hook_mlp_out,blocks.1.attn.hook_z', '--hook', 'blocks.1.hook_mlp_*'];
  const { code, stdout, stderr } = await run('harvest', ...TEXT, ...hooks, '--tokens', '0.5k', '--out', out);
  assert.equal(code, 0, stderr);
  const stores = [...[0, 1, 2, 3].map((layer) => `blocks.${layer}.hook_mlp_out`), 'blocks.1.attn.hook_z'];
  assert.deepEqual(readdirSync(out).sort(), [...stores].sort());
  assert.deepEqual(
    stdout.trim().split('\n'),
    stores.map((name) => join(out, name)),
  );
});

test('commands for one hook refuse a pattern that matches several, and accept one that matches one; nothing is written', async () => {
  const out = join(root, 'one');
  const training = ['train', ...TEXT, '--d-sae', '8', '--steps', '1', '--batch', '16', '--out', out];
  refusedUsage(await run(...logged([...training, '--hook', 'blocks.*.hook_mlp_out'])), 'lm/several-hooks', '4 hooks');
  const harvest = ['harvest', ...TEXT, '--tokens', '10', '--out', out, '--hook', 'blocks.*.hook_mlp'];
  refusedUsage(await run(...logged(harvest)), 'lm/no-hook', 'blocks.*.hook_mlp');
  assert.ok(!existsSync(out));
  const one = await run(...training, '--hook', 'blocks.3.*mlp_out');
  assert.equal(one.code, 0, one.stderr);
});

test('a sweep takes patterns: of the model, of its stores, and in a group of its runs', async () => {
  const file = join(root, 'sweep.yaml');
  writeFileSync(
    file,
    'harvest: {model: assets/tiny-gemma, corpus: c, hook: "blocks.*.attn.hook_z", tokens: 1}\nsweep: {hook: blocks.0.hook_mlp_out}\n',
  );
  const never = { signal: undefined };
  const config = {
    out: 'o',
    strict: false,
    takeOver: false,
    runs: [{ l1: 1 }, { l1: 2, hook: 'blocks.1.*, blocks.2.*' }],
  };
  const z = [0, 1, 2, 3].map((layer) => `blocks.${layer}.attn.hook_z`);
  const { hooks, known, runs } = await sweepHooks(config, file, never);
  assert.deepEqual([hooks, known], [z, [...z, 'blocks.0.hook_mlp_out']]);
  assert.deepEqual(runs, [{ l1: 1 }, { l1: 2, hook: [z[1], z[2]] }]);
  const stores = { out: 'o', strict: false, takeOver: false, activations: join(root, 'acts'), hook: ['blocks.*'] };
  assert.deepEqual((await sweepHooks(stores, undefined, never)).hooks, readdirSync(join(root, 'acts')).sort());
});

import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { openStoreSource } from '../../src/activations/store-source.js';
import { evalSchema } from '../../src/config/stages/eval.js';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import type { RefusalCode } from '../../src/errors/codes.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { evaluate } from '../../src/eval/evaluate.js';
import { harvest } from '../../src/harvest/harvest.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { exportSae } from '../../src/sae/export.js';
import { openSae, readSae } from '../../src/sae/saelens.js';
import { widen } from '../../src/safetensors/floats.js';
import { trainConfig } from '../../src/train/resumed-config.js';
import { train } from '../../src/train/train.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { curveOf } from '../train/tiny-activations.js';

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
/** Of input and target. */
const [D_IN, D_OUT] = [256, 192];
const [INPUT, OUTPUT] = ['blocks.1.attn.hook_z', 'blocks.1.hook_attn_out'];
const MODEL = { model: 'assets/tiny-gemma', corpus: 'assets/corpus/validation.jsonl.gz', context: 128 };
const ROWS = 3000;
let [activations, target] = ['', ''];
let counter = 0;

before(async () => {
  const config = harvestSchema.parse({ ...MODEL, hook: [INPUT, OUTPUT], tokens: ROWS, rowsPerShard: 700, out: root });
  [activations, target] = (await harvest(config, silent, never)) as [string, string];
});

const flags = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  ...{ activations, target, arch: 'standard', 'd-sae': 150, l1: 0.5, steps: 40, batch: 256, lr: 0.003, warmup: 0 },
  ...{ 'log-every': 5, threads: 1, out: join(root, String(counter++)) },
  ...more,
});
const without = (name: string, more: Record<string, unknown> = {}) => {
  const { [name]: _, ...rest } = flags(more);
  return rest;
};
const begin = async (given: Record<string, unknown>, stop = never, progress = silent) =>
  train(await trainConfig(given), progress, stop);
const file = (directory: string, name: string) => readFileSync(join(directory, name));
const cfgOf = (directory: string) => JSON.parse(String(file(directory, 'cfg.json')));

async function stopped(given: Record<string, unknown>, steps: number) {
  const stop: StopRequest = { signal: undefined };
  const update = (done: number) => {
    if (done >= steps * 256) stop.signal = 'SIGINT';
  };
  await assert.rejects(begin(given, stop, { ...silent, update }), Interrupted);
}

test('a transcoder is written as SAELens has it, and its weights act on raw activations', async () => {
  const directory = await begin(flags({ steps: 200, 'b-dec-init': 'geometric-median', normalize: 'mean-norm' }));
  const { architecture, d_in, d_out, apply_b_dec_to_input, reshape_activations, metadata } = cfgOf(directory);
  assert.deepEqual(
    { architecture, d_in, d_out, apply_b_dec_to_input, reshape_activations },
    { architecture: 'transcoder', d_in: D_IN, d_out: D_OUT, apply_b_dec_to_input: false, reshape_activations: 'none' },
  );
  assert.deepEqual([metadata.hook_name, metadata.hook_name_out], [INPUT, OUTPUT]);
  const { activation_scale, target_scale } = metadata.sae_pipe;
  assert.ok(activation_scale > 0 && target_scale > 0 && activation_scale !== target_scale);

  const { parameters: w } = await readSae(await openSae(directory, 'transcoder'));
  const shapes = Object.fromEntries(Object.entries(w).map(([name, values]) => [name, values.length]));
  assert.deepEqual(shapes, { W_enc: D_IN * 150, W_dec: 150 * D_OUT, b_dec: D_OUT, b_enc: 150 });
  const source = await openStoreSource({ activations, target });
  const batch = await source.batches('stored', 0).next(ROWS);
  const { dtype } = source.about;
  const [x, y] = [widen(batch.x, dtype), widen(batch.y!, dtype)];
  const mean = Float64Array.from({ length: D_OUT }, (_, o) => {
    let sum = 0;
    for (let row = 0; row < ROWS; row++) sum += y[row * D_OUT + o]! / ROWS;
    return sum;
  });
  let [squares, variance, active] = [0, 0, 0];
  for (let row = 0; row < ROWS; row++) {
    const f = Float64Array.from({ length: 150 }, (_, j) => {
      let p = w.b_enc![j]!;
      for (let i = 0; i < D_IN; i++) p += x[row * D_IN + i]! * w.W_enc![i * 150 + j]!;
      return Math.max(0, p);
    });
    active += f.filter((value) => value > 0).length;
    for (let o = 0; o < D_OUT; o++) {
      let error = w.b_dec![o]! - y[row * D_OUT + o]!;
      for (let j = 0; j < 150; j++) error += f[j]! * w.W_dec![j * D_OUT + o]!;
      squares += error ** 2;
      variance += (y[row * D_OUT + o]! - mean[o]!) ** 2;
    }
  }
  const last = curveOf(directory).at(-1)!;
  assert.ok(last.explained_variance! > 0.3, `explained variance ${last.explained_variance}`);
  assert.ok(Math.abs(1 - squares / variance - last.explained_variance!) < 0.03, `${1 - squares / variance}`);
  assert.ok(Math.abs(active / ROWS / last.l0 - 1) < 0.1, `L0 ${active / ROWS}, in training ${last.l0}`);
});

test('a run with a target that is stopped and resumed has the bytes of one that was not, also where the stores moved', async () => {
  const more = { normalize: 'mean-norm', 'l2-normalise': true, 'l1-convention': 'paper' };
  const whole = await begin(flags(more));
  const given = flags(more);
  await stopped(given, 13);
  const [from, to] = [target, join(root, 'moved')];
  renameSync(from, to);
  try {
    await begin({ resume: true, out: given.out, target: to });
  } finally {
    renameSync(to, from);
  }
  for (const name of ['sae_weights.safetensors', 'cfg.json']) {
    assert.deepEqual(file(String(given.out), name), file(whole, name));
  }
  // Finished, it is left as it is; it can be trained further.
  await begin({ resume: true, out: given.out, target });
  await begin({ resume: true, out: given.out, steps: 50, target });
  assert.equal(cfgOf(String(given.out)).metadata.sae_pipe.steps, 50);
});

test('a resumed run keeps its target', async () => {
  const given = flags({ 'checkpoint-every': '5' });
  await stopped(given, 10);
  const run = JSON.parse(String(file(String(given.out), 'run.json')));
  const { target: _, ...settings } = run.flags;
  writeFileSync(join(String(given.out), 'run.json'), JSON.stringify({ ...run, flags: settings }));
  await refuses(() => begin({ resume: true, out: given.out }), 'train/other-settings');
});

test('--model with --hook-out gives the bytes of the stores of both hooks', async () => {
  const shared = { normalize: 'none', order: 'shuffled', steps: 8, 'pool-rows': 2 ** 20 };
  const live = without('activations', { ...MODEL, ...shared, hook: INPUT, 'hook-out': OUTPUT, tokens: undefined });
  const { target: _, tokens: _t, ...given } = live;
  const out = await begin(given);
  const { metadata } = cfgOf(out);
  assert.deepEqual([metadata.hook_name, metadata.hook_name_out], [INPUT, OUTPUT]);
  assert.equal(metadata.sae_pipe.activations.hook_out, OUTPUT);
  // The rows of a harvest of just as many, in its order.
  const rows = { ...MODEL, hook: [INPUT, OUTPUT], tokens: 8 * 256, out: join(root, 'same') };
  const stores = (await harvest(harvestSchema.parse(rows), silent, never)) as [string, string];
  const stored = flags({ ...shared, order: 'stored', activations: stores[0], target: stores[1] });
  assert.deepEqual(file(await begin(stored), 'sae_weights.safetensors'), file(out, 'sae_weights.safetensors'));
});

test('what does not go with a target is refused before anything is written', async () => {
  const cases: [Record<string, unknown>, RefusalCode][] = [
    [without('target', { skip: true }), 'train/target'],
    [flags({ skip: true, engine: 'cuda', device: 'cuda', experimental: true }), 'train/engine-cannot'],
    [flags({ train: ['W_skip'] }), 'train/unknown-parameter'],
    [flags({ target: activations }), 'train/target-is-input'],
    [flags({ activations: '-' }), 'train/target-alone'],
    [without('activations', MODEL), 'train/target-alone'],
    [flags({ 'hook-out': OUTPUT }), 'train/store-and-model'],
  ];
  for (const [given, code] of cases) {
    const some = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
    await refusesUsage(() => begin(some), code);
    assert.ok(!existsSync(String(given.out)));
  }
  const same = { ...MODEL, hook: INPUT, 'hook-out': INPUT, steps: 3 };
  const { target: _, ...live } = without('activations', same);
  await refusesUsage(() => begin(live), 'train/target-is-input');
});

test('a gated transcoder with a skip connection is evaluated as it was trained, and exported as a jumprelu one', async () => {
  const directory = await begin(flags({ arch: 'gated', skip: true, steps: 150 }));
  assert.equal(cfgOf(directory).architecture, 'gated_skip_transcoder');
  assert.equal(cfgOf(directory).metadata.sae_pipe.skip, true);
  const out = join(root, 'exported');
  await exportSae({ sae: directory, as: 'jumprelu', out, overwrite: false, takeOver: false });
  assert.equal(cfgOf(out).architecture, 'jumprelu_skip_transcoder');
  const evaluation = evalSchema.parse({ ...MODEL, sae: [directory, out], tokens: 1500, out: join(root, 'eval') });
  const [trained, exported] = await evaluate(evaluation, silent, never);
  assert.deepEqual([trained!.hook, trained!.hook_in], [OUTPUT, INPUT]);
  // W_O is linear: a skip connection alone comes near.
  assert.ok(trained!.explained_variance > 0.5, `${trained!.explained_variance}`);
  const last = curveOf(directory).at(-1)!;
  assert.ok(Math.abs(trained!.explained_variance - last.explained_variance!) < 0.1, `${trained!.explained_variance}`);
  for (const key of ['ce_spliced', 'mse', 'l0', 'cosine'] as const) {
    assert.ok(Math.abs(exported![key] / trained![key] - 1) < 1e-4, key);
  }
});

test('what cannot take a transcoder refuses it by what it is', async () => {
  const directory = await begin(flags({ steps: 5 }));
  await refuses(() => begin(without('target', { init: directory })), 'sae/transcoder');
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { decodeShard } from '../../src/activations/arrow-rows.js';
import { readAllFloats } from '../../src/safetensors/floats.js';
import { logged, refused } from '../cli/refused.js';
import { run } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';
import { changedStore, changedTensor } from './damage.js';

const HOOK = 'blocks.1.hook_mlp_out';
const root = temporaryDirectory();
let activations: string;
let counter = 0;

before(async () => {
  activations = await tinyActivations(root, HOOK);
});

type Flags = Record<string, string | number>;
const fresh = () => join(root, `out-${counter++}`);

function train(out: string, more: Flags = {}, ...rest: string[]) {
  // Reading random shards before the first step would find the broken rows there.
  const flags: Flags = {
    activations,
    'd-sae': 200,
    batch: 64,
    steps: 50,
    'log-every': 1,
    lr: 1e-3,
    start: 'zero',
    'b-dec-init': 'zero',
    normalize: 'mean-norm',
    'max-activation-norm-multiple': 0,
    out,
    ...more,
  };
  const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return run(...logged(['train', ...words, ...rest]));
}

/** Nothing that looks finished or half-written; every checkpoint is finite, and so is the curve. */
async function checkLeftBehind(out: string): Promise<string[]> {
  const names = existsSync(out) ? readdirSync(out) : [];
  assert.ok(!names.includes('cfg.json') && !names.some((name) => name.endsWith('.tmp')), names.join());
  const checkpoints = names.filter((name) => name.startsWith('checkpoint-'));
  for (const name of checkpoints) {
    for (const [tensor, { values }] of await readAllFloats(join(out, name))) {
      assert.ok(values.every(Number.isFinite), `${name}: ${tensor}`);
    }
  }
  const curve = names.includes('metrics.jsonl') ? readFileSync(join(out, 'metrics.jsonl'), 'utf8') : '';
  for (const line of curve.split('\n').slice(0, -1)) {
    for (const [key, value] of Object.entries(JSON.parse(line) as object)) {
      assert.ok(
        Number.isFinite(value) || (['explained_variance', 'dead_fraction'].includes(key) && value === null),
        line,
      );
    }
  }
  return checkpoints;
}

const NOT_FINITE = [
  ['NaN', 0x7e01],
  ['-Infinity', 0xfc00],
] as const;

for (const [what, bits] of process.env.SAE_PIPE_LONG === '1' ? NOT_FINITE : NOT_FINITE.slice(0, 1)) {
  test(`${what} in a shard ends training before its rows, names the row, and keeps the steps`, async () => {
    const row = 417;
    const store = changedStore(activations, join(root, `store${what}`), 2, (values, d) => {
      values[row * d + 100] = bits;
    });
    const out = fresh();
    const flags = { activations: store, order: 'stored', 'pool-rows': 1000 };
    const outcome = await train(out, flags);
    const shard = join(store, 'shard-00002.arrow');
    const { context, pos } = decodeShard(readFileSync(shard), 192, 'float16', shard);
    const where = `${shard}: row ${row} (context ${context[row]}, position ${pos[row]})`;
    refused(outcome, 'activations/not-finite', where, what);
    // 31 batches of 64 rows lie before row 2000.
    assert.match(outcome.stderr, /step 31 of 50 is saved/);
    assert.deepEqual(await checkLeftBehind(out), ['checkpoint-00000031.safetensors']);
    refused(await train(out, flags, '--resume'), 'activations/not-finite', where, what);
    assert.deepEqual(await checkLeftBehind(out), ['checkpoint-00000031.safetensors']);
  });
}

for (const engine of ['sparse', 'reference'] as const) {
  test(`an exploding learning rate ends the ${engine} engine's run at a step, and no checkpoint is of a bad state`, async () => {
    const out = fresh();
    const flags = { engine, lr: 1e30, warmup: 0, beta1: 0.9, 'checkpoint-every': 1, 'keep-checkpoints': 50 };
    const outcome = await train(out, flags);
    const kept = await checkLeftBehind(out);
    refused(outcome, 'train/not-finite', /step \d+ \(learning rate 1e\+30/, kept.at(-1) ?? 'no checkpoint');
    // The same settings reach the same step.
    refused(await train(out, flags, '--resume'), 'train/not-finite', /step \d+/);
  });

  test(`an update that overflows under a finite loss is found in its own step by the ${engine} engine`, async () => {
    // Squares of gradients of such activations are beyond float32, those of the activations are not.
    const large = changedStore(activations, join(root, `large-${engine}`), 0, (bits) => {
      bits.forEach((x, i) => {
        bits[i] = (x & 0x83ff) | 0x7800;
      });
    });
    const out = fresh();
    const flags = { activations: large, engine, normalize: 'none', order: 'stored', 'checkpoint-every': 1, steps: 4 };
    const blown = changedTensor(await smallSae(), fresh(), 'sae_weights.safetensors', 'W_enc', (bytes) => {
      for (let at = 0; at < bytes.length; at += 4) bytes.writeFloatLE(bytes.readFloatLE(at) * 1e9, at);
    });
    const outcome = await train(out, { ...flags, init: blown });
    const where = /step 1 \(learning rate 0\.001\), v\/W_(enc|dec) contains Infinity/;
    refused(outcome, 'train/not-finite', where, '--lr', 'no checkpoint');
    assert.deepEqual(await checkLeftBehind(out), []);
  });
}

let small: string | undefined;
/** A gated SAE of 200 features. */
async function smallSae(): Promise<string> {
  if (small) return small;
  small = fresh();
  const { code, stderr } = await train(small);
  assert.equal(code, 0, stderr);
  return small;
}

test('after a failure, another learning rate is refused with what can be done', async () => {
  const out = fresh();
  const flags = { lr: 1e30, warmup: 0, beta1: 0.9, 'checkpoint-every': 1 };
  refused(await train(out, { ...flags, lr: 1e20 }), 'train/not-finite');
  const step = join(out, 'checkpoint-00000001.safetensors');
  if (!existsSync(step)) {
    const { code } = await train(out, { ...flags, lr: 1e-3 }, '--resume');
    assert.equal(code, 0, 'where no checkpoint was written, --resume begins again');
    return;
  }
  const changed = await train(out, { ...flags, lr: 1e-3 }, '--resume');
  refused(changed, 'train/other-settings', 'lr = 100000000000000000000', '0.001', '--out', '--overwrite');
  const anew = await train(out, { ...flags, lr: 1e-3 }, '--overwrite');
  assert.equal(anew.code, 0, anew.stderr);
});

test('weights of --init that are not finite, and a decoder row without a direction, are refused before anything is written', async () => {
  const whole = await smallSae();
  for (const [tensor, value, code, named] of [
    ['W_enc', Number.NaN, 'sae/not-finite', 'NaN in W_enc'],
    ['b_mag', Number.NEGATIVE_INFINITY, 'sae/not-finite', '-Infinity in b_mag'],
    ['r_mag', 200, 'train/init-not-finite', /r_mag.* feature 0/],
    ['W_dec', 0, 'train/init-not-finite', 'row 0 of W_dec'],
  ] as const) {
    const init = changedTensor(whole, fresh(), 'sae_weights.safetensors', tensor, (bytes) => {
      for (let at = 0; at < (tensor === 'W_dec' ? 192 * 4 : 4); at += 4) bytes.writeFloatLE(value, at);
    });
    const out = fresh();
    refused(await train(out, { init }), code, named);
    assert.ok(!existsSync(out));
  }
});

test('a checkpoint that is not finite is skipped for the one before', async () => {
  const out = fresh();
  const store = changedStore(activations, join(root, 'stopped'), 2, (bits) => bits.fill(0x7e00, 0, 1));
  const flags = { activations: store, order: 'stored', 'pool-rows': 1000, 'checkpoint-every': 20 };
  refused(await train(out, flags), 'activations/not-finite');
  const [first, second] = await checkLeftBehind(out);
  const damaged = changedTensor(out, fresh(), second!, 'v/b_dec', (bytes) => bytes.writeFloatLE(Number.NaN, 8));
  const { stderr } = await train(damaged, flags, '--resume');
  assert.match(stderr, new RegExp(`${second} .*NaN in v/b_dec.* ${first}`));
});

test('rows of a stream that are not finite end training with the row', async () => {
  const store = changedStore(activations, join(root, 'to-stream'), 0, () => {});
  assert.ok(existsSync(store));
  const rows = join(root, 'rows.arrows');
  const harvest = spawn(
    process.execPath,
    [
      'bin/sae-pipe.js',
      ...['harvest', '--model', 'assets/tiny-gemma', '--corpus', 'assets/corpus/validation.jsonl.gz'],
      ...['--hook', HOOK, '--tokens', '2000', '--context', '128', '--dtype', 'float16'],
      ...['--rows-per-shard', '500', '--out', '-'],
    ],
    { stdio: ['ignore', openSync(rows, 'w'), 'ignore'] },
  );
  await once(harvest, 'close');
  const bytes = readFileSync(rows);
  // Some way into the last record batch, among its activations.
  bytes.writeUInt16LE(0x7e00, 2 * Math.floor((bytes.length * 0.85) / 2));
  writeFileSync(rows, bytes);
  const out = fresh();
  const child = spawn(
    process.execPath,
    [
      'bin/sae-pipe.js',
      ...['train', '--activations', '-', '--d-sae', '200', '--batch', '64', '--steps', '30', '--pool-rows', '500'],
      ...logged(['--out', out]),
    ],
    { stdio: [openSync(rows, 'r'), 'ignore', 'pipe'] },
  );
  let stderr = '';
  child.stderr!.on('data', (data) => {
    stderr += data;
  });
  const [code, signal] = await once(child, 'close');
  const where = /1500 of 2000 rows: row 1\d\d\d \(context \d+, position \d+\) holds NaN/;
  refused({ code, signal, stdout: '', stderr }, 'activations/broken-stream', where);
  assert.match(stderr, /step 23 of 30 is saved/);
  assert.deepEqual(await checkLeftBehind(out), ['checkpoint-00000023.safetensors']);
});

test('activations that are all zero are refused where they would be divided by, and trained on where not', async () => {
  let store = activations;
  for (let shard = 0; shard < 4; shard++)
    store = changedStore(store, join(root, `zero-${shard}`), shard, (b) => b.fill(0));
  const path = join(store, 'manifest.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace(/"mean_norm":[^,]*/, '"mean_norm":0'));
  const each = await train(fresh(), { activations: store, normalize: 'per-dimension' });
  refused(each, 'train/no-scale', '--normalize per-dimension');
  const scaled = await train(fresh(), { activations: store, normalize: 'mean-norm' });
  refused(scaled, 'train/no-scale', '--normalize mean-norm');
  const divided = await train(fresh(), { activations: store, normalize: 'none' }, '--l2-normalise');
  refused(divided, 'train/all-zero', '--l2-normalise');
  const out = fresh();
  const raw = await train(out, { activations: store, normalize: 'none', 'b-dec-init': 'geometric-median', steps: 5 });
  assert.equal(raw.code, 0, raw.stderr);
  for (const [name, { values }] of await readAllFloats(join(out, 'sae_weights.safetensors'))) {
    assert.ok(values.every(Number.isFinite), name);
  }
});

for (const engine of ['sparse', 'reference'] as const) {
  test(`rows that are all alike have no explained variance in the ${engine} engine's curve`, async () => {
    let store = activations;
    for (let shard = 0; shard < 4; shard++) {
      store = changedStore(store, join(root, `equal-${engine}-${shard}`), shard, (bits, d) => {
        bits.forEach((_, i) => {
          bits[i] = 0x3000 + (((i % d) * 37) % 0x0a00);
        });
      });
    }
    const out = fresh();
    const { code, stderr } = await train(out, {
      activations: store,
      engine,
      steps: 6,
      'b-dec-init': 'geometric-median',
    });
    assert.equal(code, 0, stderr);
    const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trim().split('\n');
    assert.equal(lines.length, 6);
    for (const line of lines) assert.equal(JSON.parse(line).explained_variance, null);
  });

  test(`a dictionary in which all features are dead is trained, resampled and comes alive in the ${engine} engine`, async () => {
    const init = changedTensor(await smallSae(), fresh(), 'sae_weights.safetensors', 'b_gate', (bytes) => {
      for (let at = 0; at < bytes.length; at += 4) bytes.writeFloatLE(-1e6, at);
    });
    const dead = changedTensor(init, fresh(), 'sae_weights.safetensors', 'W_enc', (bytes) => bytes.fill(0));
    const out = fresh();
    const flags = { init: dead, engine, 'dead-window': 128, 'resample-at': 5, 'resample-inputs': 1000, steps: 12 };
    const { code, stderr } = await train(out, flags);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /200 of 200 dead features resampled/);
    const curve = readFileSync(join(out, 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(curve[3].l0, 0);
    assert.equal(curve[3].dead_fraction, 1);
    assert.ok(curve.at(-1).l0 > 0);
    for (const { loss, mse, aux } of curve) assert.ok(Number.isFinite(loss + mse + aux));
  });
}

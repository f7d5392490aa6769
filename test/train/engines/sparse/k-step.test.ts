import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import type { TopKOptions } from '../../../../src/sae/architectures/topk.js';
import type { EngineSettings } from '../../../../src/train/engines/engine.js';
import { openSparseEngine } from '../../../../src/train/engines/sparse/engine.js';
import { relativeDifference } from '../../../golden.js';
import { type KRun, stepOfK } from './k-twin.js';
import { normals } from './memory.js';

const SIZES = { dIn: 22, dOut: 22, dSae: 210, batch: 30, coefficient: 1 / 32, beta2: 0.999, deadWindow: 90 };
const RUN: KRun = { ...SIZES, k: 8, kAux: 5, beta1: 0, centred: true };
/** Features that are dead from the start, of every slice. */
const DEAD = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 69, 70, 71, 100, 104, 105, 139, 140, 141, 180, 200, 208, 209];

function open(run: KRun, threads: number, start: Map<string, Float32Array>) {
  const { k, kAux, coefficient, dIn, dSae, batch, beta1, beta2, deadWindow } = run;
  // Another target than the input has a width and a scale.
  const target = run.centred ? {} : { dOut: run.dOut, scaleOut: 2 };
  const sizes = { dIn, dSae, batch, beta1, beta2, deadWindow, threads, ...target };
  const options: TopKOptions = { k, kAux: Math.max(kAux, 1), auxCoefficient: kAux > 0 ? coefficient : 0 };
  const settings: EngineSettings = { ...sizes, architecture: 'topk', options, batchDType: 'float32', scale: 1 };
  return openSparseEngine(settings, start);
}

function startOf({ dIn, dOut, dSae }: KRun): Map<string, Float32Array> {
  const random = new Generator(91);
  const decoder = normals(random, dSae * dOut);
  for (let at = 0; at < decoder.length; at += dOut) {
    const row = decoder.subarray(at, at + dOut);
    row.set(row.map((value) => value / Math.hypot(...row)));
  }
  const since = new Float32Array(dSae);
  for (const j of DEAD) since[j] = 300;
  return new Map([
    ['W_enc', normals(random, dIn * dSae, 0.2)],
    ['W_dec', decoder],
    ['b_dec', normals(random, dOut, 0.1)],
    // Dead features are below the others, and have positive pre-activations still.
    ['b_enc', normals(random, dSae, 0.1).map((bias, j) => (DEAD.includes(j) ? bias - 1 : bias))],
    ['since_fired', since],
  ]);
}

async function stepsOf(run: KRun, threads: number, steps: number, check = false, start = startOf(run)) {
  const engine = await open(run, threads, start);
  const state = Object.fromEntries([...(await engine.state())].map(([name, v]) => [name, Float64Array.from(v)]));
  const random = new Generator(92);
  const lr = 1e-3;
  for (let t = 1; t <= steps; t++) {
    const x = normals(random, run.batch * run.dIn);
    const y = run.centred ? undefined : normals(random, run.batch * run.dOut);
    const found = await engine.step({ x, ...(y ? { y } : {}) }, { lr, l1: 0.7 });
    assert.equal(found.l1, 0);
    if (!check) continue;
    const wanted = stepOfK(run, state, x, y?.map((value) => 2 * value) ?? x, lr, t);
    for (const name of ['mse', 'aux', 'l0', 'variance'] as const) {
      const off = Math.abs(found[name] - wanted[name]);
      assert.ok(off <= 1e-4 * Math.abs(wanted[name]), `step ${t}, ${name}: ${found[name]}, not ${wanted[name]}`);
    }
  }
  const final = await engine.state();
  await engine.close();
  if (check) {
    for (const [name, values] of final) {
      const difference = relativeDifference(values, state[name]!);
      assert.ok(difference < 1e-4, `${name}: ${difference}`);
    }
  }
  return final;
}

/** `SAE_PIPE_LONG=1` takes more. */
const STEPS = process.env.SAE_PIPE_LONG === '1' ? 200 : 60;

for (const [what, more] of [
  ['without AuxK', { kAux: 0 }],
  ['with fewer k_aux than dead features', {}],
  ['with more k_aux than dead features', { kAux: 100 }],
  ['with β1 = 0.9', { beta1: 0.9 }],
  ['of one feature a token', { k: 1, kAux: 1 }],
  ['with k above what is positive', { k: 210 }],
  ['of a wider target', { centred: false, dOut: 37 }],
  ['of a narrower target', { centred: false, dOut: 5, beta1: 0.9 }],
] as const) {
  test(`${STEPS} steps ${what} equal the same formulas in float64`, async () => {
    await stepsOf({ ...RUN, ...more }, 2, STEPS, true);
  });
}

test('1, 2 and 3 workers compute the same, and the same number the same bits', async () => {
  for (const more of [{ k: 64, kAux: 11 }, { kAux: 100 }]) {
    const run = { ...RUN, ...more };
    const [one, two, again, three] = await Promise.all([1, 2, 2, 3].map((threads) => stepsOf(run, threads, 40)));
    assert.deepEqual(again, two);
    for (const [name, values] of one!) {
      for (const other of [two!, three!]) {
        const difference = relativeDifference(other.get(name)!, values);
        assert.ok(difference < 1e-5, `${name}: ${difference}`);
      }
    }
  }
});

test('thresholds are guessed without loss: right guesses, and ones that are wrong for some tokens', async () => {
  // Slices of several strips, and k large enough for a guess.
  const run = { ...RUN, dSae: 1200, k: 24, kAux: 0 };
  await stepsOf(run, 2, 3, true);
  // Tokens with x₀ > 0 have all of their k largest in the first strip, so what is guessed from it is too high.
  const start = startOf(run);
  const first = start.get('W_enc')!.subarray(0, 256);
  start.get('W_enc')!.set(first.map((value) => value + 3));
  const found = await stepsOf(run, 2, 3, true, start);
  assert.deepEqual(await stepsOf(run, 2, 3, false, start), found);
});

function changed(values: Float32Array, i: number): Float32Array {
  return values.map((value, k) => (k === i ? Number.NaN : value));
}

test('NaN in a batch or in the weights reaches the loss', async () => {
  const start = startOf(RUN);
  const x = normals(new Generator(93), RUN.batch * RUN.dIn);
  const loss = async (from: Map<string, Float32Array>, batch: Float32Array) => {
    const engine = await open(RUN, 2, from);
    const { mse } = await engine.step({ x: batch }, { lr: 0, l1: 0 });
    await engine.close();
    return mse;
  };
  assert.ok(Number.isFinite(await loss(start, x)));
  assert.ok(Number.isNaN(await loss(start, changed(x, 100))));
  assert.ok(Number.isNaN(await loss(new Map([...start, ['W_enc', changed(start.get('W_enc')!, 5)]]), x)));
});

test('what is reconstructed exactly has no auxiliary loss', async () => {
  const start = startOf(RUN);
  // Nothing is above 0, and the batch is b_dec.
  start.get('b_enc')!.fill(-9);
  const x = Float32Array.from({ length: RUN.batch * RUN.dIn }, (_, n) => start.get('b_dec')![n % RUN.dIn]!);
  const engine = await open(RUN, 2, start);
  const { mse, aux, l0 } = await engine.step({ x }, { lr: 1, l1: 0 });
  assert.deepEqual([mse, aux, l0], [0, 0, 0]);
  assert.deepEqual((await engine.state()).get('W_dec'), start.get('W_dec'));
  await engine.close();
});

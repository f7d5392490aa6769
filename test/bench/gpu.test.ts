import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { problemSettings, problemStart } from '../../bench/check-gpu-problem.js';
import { OTHERS, type Steps, worst } from '../../bench/check-gpu-train.js';
import { atRates, stepWork } from '../../bench/gpu-work.js';
import { cudaTraining } from '../../src/doctor/machine.js';
import { openEngine } from '../../src/train/engines/open.js';
import { batches } from '../train/engines/problem.js';

function ends(script: string, ...flags: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [script, ...flags], (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    });
  });
}

test('without a GPU, bench:gpu and check:gpu --part train name what is missing in a sentence, and exit 3', async (t) => {
  const trial = await cudaTraining('cuda');
  if (trial.gpu) return t.skip('this machine has a GPU that the CUDA engine can use');
  const what = trial.missing[0] ?? trial.reason!;
  for (const [script, ...flags] of [['dist/bench/gpu.js'], ['dist/bench/check-gpu.js', '--part', 'train']]) {
    const { code, stdout, stderr } = await ends(script!, ...flags);
    assert.equal(code, 3, stderr);
    assert.equal(stdout, '');
    assert.ok(stderr.includes(what), stderr);
    assert.match(stderr, /^[^\n]+; docs\/how-to\/gpu\.md says what (it needs|is needed)\.\n$/);
  }
});

test('unknown parts of check:gpu, and parts that the CPU cannot run, are refused with exit code 2', async () => {
  for (const flags of [
    ['--part', 'half'],
    ['--part', 'train', '--device', 'cpu'],
    ['--part', 'all', '--device', 'cpu'],
  ]) {
    const { code, stderr } = await ends('dist/bench/check-gpu.js', ...flags);
    assert.equal(code, 2, stderr);
  }
});

test('the work of a step is counted from its size', () => {
  const work = stepWork({ d: 2, n: 3, B: 5, l0: 1 });
  // 5 × 3 products of 2 terms; 5 active entries, each with 6 passes of multiply and add over 2 numbers.
  assert.deepEqual({ product: work.product, sparse: work.sparse }, { product: 60, sparse: 120 });
  // W_enc once (6), p twice (15 each), four matrices of 6 read and written; 4 rows of 2 numbers an entry.
  assert.equal(work.streamed, 4 * (6 + 30 + 48));
  assert.equal(work.gathered, 4 * (5 * 4 * 2));
  const times = atRates(work, { copy: 1000, products: { tf32: 500 } }, 'tf32');
  assert.deepEqual(times, { product: 120, streamed: 336, gathered: 160, sum: 616 });
});

test('the worst difference of two engines is found wherever it is, and NaN is the worst', () => {
  const metrics = { mse: 2, l1: 1, aux: 1, l0: 4, variance: 1, dead: 0 };
  const steps = (values: number[], l0 = 4): Steps => {
    return { parameters: new Map([['W', Float32Array.from(values)]]), metrics: [{ ...metrics, l0 }] };
  };
  assert.equal(worst(steps([3, 4]), steps([3, 4])).difference, 0);
  assert.deepEqual(worst(steps([3, 4.5]), steps([3, 4])), { name: 'W', difference: 0.1 });
  assert.deepEqual(worst(steps([3, 4], 5), steps([3, 4])), { name: 'l0 of step 1', difference: 0.25 });
  assert.equal(worst(steps([Number.NaN, 4], 5), steps([3, 4])).difference, Number.POSITIVE_INFINITY);
  // Of what is 0 in both there is no difference, and of what is 0 in one there is.
  assert.equal(worst(steps([3, 4], 0), steps([3, 4], 0)).difference, 0);
  assert.equal(worst(steps([3, 4], 1), steps([3, 4], 0)).difference, Number.POSITIVE_INFINITY);
});

test('in the steps that check:gpu compares, few features are active and some are dead; their losses act', async () => {
  for (const architecture of OTHERS) {
    const settings = problemSettings(architecture, 'small');
    const engine = await openEngine('reference', settings, problemStart(settings));
    const next = batches(settings);
    const found = [];
    for (let t = 0; t < 3; t++) found.push(await engine.step({ x: next() }, { lr: 5e-5, l1: 1 }));
    await engine.close();
    const { l0, dead } = found.at(-1)!;
    assert.ok(l0 > 1 && l0 < settings.dSae / 20, `${architecture}: ${l0} active`);
    assert.ok(dead > 5 && dead < settings.dSae / 3, `${architecture}: ${dead} dead`);
    // Prefixes are auxiliary from the first step; otherwise only dead features are, and none is in the first two.
    if (architecture === 'matryoshka') continue;
    assert.equal(found[1]!.aux, 0, architecture);
    assert.equal(found[2]!.aux > 0, architecture !== 'standard', architecture);
  }
});

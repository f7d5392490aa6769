import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { openSae, readSae } from '../../src/sae/saelens.js';
import { trainConfig } from '../../src/train/resumed-config.js';
import { train } from '../../src/train/train.js';
import { refusesUsage } from '../config/refuses.js';
import { changedStore } from '../faults/damage.js';
import { randomInputs } from '../sae/random-sae.js';
import { runForward } from '../sae/run-forward.js';
import { temporaryDirectory } from '../temporary.js';
import { curveOf, tinyActivations } from '../train/tiny-activations.js';
import { interrupted } from './resumes.js';

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
const D = 192;
let activations: string;
let counter = 0;

before(async () => {
  activations = await tinyActivations(root);
});

const fresh = () => join(root, `out-${counter++}`);
const configured = (more: Partial<TrainConfig> = {}): TrainConfig =>
  trainSchema.parse({
    activations,
    dSae: 300,
    normalize: 'per-dimension',
    steps: 40,
    batch: 128,
    lr: 1e-3,
    l1: 3,
    deadWindow: 1000,
    logEvery: 10,
    out: fresh(),
    ...more,
  });

/** Power of two by which dimension i of the other store is larger. */
const power = (i: number) => (i % 3) - 1;

/** float16 bits times 2^k; what is too small for that becomes 0. */
function shifted(bits: number, k: number): number {
  const exponent = (bits >> 10) & 31;
  return exponent === 0 || exponent + k < 1 ? bits & 0x8000 : bits + (k << 10);
}

function otherUnits(): string {
  let from = activations;
  for (const shard of [0, 1, 2, 3]) {
    from = changedStore(from, fresh(), shard, (bits, d) => {
      for (const [k, value] of bits.entries()) bits[k] = shifted(value, power(k % d));
    });
  }
  return from;
}

test('the unit of a dimension hardly matters: the same SAE results, in that unit', async () => {
  const [a, b] = [
    await train(configured(), silent, never),
    await train(configured({ activations: otherUnits() }), silent, never),
  ];
  const [one, other] = [curveOf(a).at(-1)!, curveOf(b).at(-1)!];
  // Which rows are left out of the deviations as too long does depend on it.
  assert.ok(Math.abs(one.loss / other.loss - 1) < 0.03, `${one.loss} and ${other.loss}`);
  assert.ok(Math.abs(one.l0 / other.l0 - 1) < 0.03, `${one.l0} and ${other.l0}`);
  const x = randomInputs(30 * D, 2).map((value) => 5 * value);
  const units = x.map((value, k) => value * 2 ** power(k % D));
  const first = (await runForward(await readSae(await openSae(a)), x)).xHat;
  const second = (await runForward(await readSae(await openSae(b)), units)).xHat;
  let [error, size] = [0, 0];
  for (const [k, value] of first.entries()) {
    error += (second[k]! / 2 ** power(k % D) - value) ** 2;
    size += value ** 2;
  }
  assert.ok(Math.sqrt(error / size) < 0.05, String(Math.sqrt(error / size)));
});

test('an SAE trains in these coordinates, and an interrupted run ends in the same bytes', async () => {
  for (const more of [{ arch: 'gated' }, { arch: 'topk', k: 10, l1: undefined }] as const) {
    const whole = await train(configured(more as Partial<TrainConfig>), silent, never);
    const weights = (await readSae(await openSae(whole))).parameters;
    const config = configured(more as Partial<TrainConfig>);
    await interrupted(config, 15);
    const resumed = await train({ ...config, resume: true }, silent, never);
    assert.deepEqual((await readSae(await openSae(resumed))).parameters, weights);
    assert.deepEqual(
      curveOf(resumed).map(({ loss }) => loss),
      curveOf(whole).map(({ loss }) => loss),
    );
    assert.ok(curveOf(whole).at(-1)!.loss < curveOf(whole)[0]!.loss);
  }
});

test('resampling sees inputs in these coordinates', async () => {
  const config = configured({ l1: 60, lr: 1e-2, steps: 60, resampleAt: [40], resampleWarmup: 5, resampleInputs: 1000 });
  const lines: string[] = [];
  const out = await train(config, { ...silent, say: (line) => lines.push(line) }, never);
  assert.ok(
    lines.some((line) => /[1-9]\d* of \d+ dead features resampled/.test(line)),
    lines.join('\n'),
  );
  assert.ok(Number.isFinite(curveOf(out).at(-1)!.loss));
});

test('settings for raw activations are refused in these coordinates', async () => {
  const from = await train(configured({ steps: 1 }), silent, never);
  for (const more of [{ init: from }, { l1Convention: 'paper' as const }]) {
    const config = configured(more);
    await refusesUsage(() => train(config, silent, never), 'train/coordinates');
  }
});

const recordOf = async (directory: string) =>
  (await openSae(directory)).metadata.sae_pipe as { normalize: string; activation_scale: number };

test('a new run trains in these coordinates unless its flags are for raw activations', async () => {
  const plain = await train(configured({ steps: 1, normalize: undefined }), silent, never);
  assert.equal((await recordOf(plain)).normalize, 'per-dimension');
  for (const more of [{ init: plain }, { l1Convention: 'paper' as const }]) {
    const out = await train(configured({ steps: 1, normalize: undefined, ...more }), silent, never);
    const { normalize, activation_scale } = await recordOf(out);
    assert.equal(normalize, 'mean-norm');
    assert.notEqual(activation_scale, 1);
  }
});

test('a run is resumed in the coordinates in which it was begun', async () => {
  const begun = configured({ steps: 10, normalize: 'mean-norm' });
  await train(begun, silent, never);
  const further = await trainConfig({ resume: true, out: begun.out, steps: 12 });
  assert.equal(further.normalize, 'mean-norm');
  assert.equal((await recordOf(await train(further, silent, never))).normalize, 'mean-norm');
  const plain = configured({ steps: 10, normalize: undefined });
  await train(plain, silent, never);
  assert.equal((await trainConfig({ resume: true, out: plain.out, steps: 12 })).normalize, 'per-dimension');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Batches, SourceDescription } from '../../src/activations/activation-source.js';
import type { Examples } from '../../src/activations/rows.js';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import type { ArchitectureName } from '../../src/sae/sae.js';
import { estimate, looksBefore } from '../../src/train/estimates.js';
import { activationScales } from '../../src/train/run-settings.js';
import { sparsityCoefficient } from '../../src/train/schedule.js';
import { numberedRows } from '../activations/synthetic.js';
import { refuses } from '../config/refuses.js';

const never = { signal: undefined };
/** Inputs (3, 4) and (0, 10), targets (0, 0, 2), (0, 4, 0). */
const PIECES: Examples[] = [
  { ...numberedRows(1, 2), activation: Float32Array.of(3, 4), target: Float32Array.of(0, 0, 2) },
  { ...numberedRows(1, 2), activation: Float32Array.of(0, 10), target: Float32Array.of(0, 4, 0) },
];

function source(pieces: readonly Examples[], about: Partial<SourceDescription> = {}) {
  const description: SourceDescription = {
    ...{
      place: 'rows',
      model: { name: 'm', fingerprint: 'f' },
      hook: 'a',
      dIn: 2,
      dtype: 'float32',
      context: 5,
      prependBos: true,
    },
    ...{ corpus: 'c', rows: 2, meanNorm: null, identity: 'i', target: { hook: 'b', dOut: 3, meanNorm: null } },
    ...about,
  };
  const batches: Batches = {
    seek: async () => {},
    next: () => Promise.reject(new Error('nothing is dealt')),
    async *inputs() {
      yield* pieces;
    },
  };
  return { about: description, batches };
}

const configured = (more: Partial<TrainConfig> = {}) =>
  trainSchema.parse({ dSae: 4, out: 'o', normalize: 'mean-norm', maxActivationNormMultiple: 0, ...more });

test('norms that no source knows are estimated of inputs and targets alike', async () => {
  const { about, batches } = source(PIECES);
  assert.deepEqual(await estimate(configured(), about, batches, never), {
    meanNorm: 7.5,
    meanNormOut: 3,
    meanSquare: null,
  });
  const { about: known } = source(PIECES, { meanNorm: 2, target: { hook: 'b', dOut: 3, meanNorm: 5 } });
  const estimates = await estimate(configured(), known, batches, never);
  assert.deepEqual(estimates, { meanNorm: 2, meanNormOut: 5, meanSquare: null });
  const { scale, scaleOut } = activationScales(configured(), known, estimates);
  assert.deepEqual([scale, scaleOut], [Math.sqrt(2) / 2, Math.sqrt(3) / 5]);
  assert.deepEqual(activationScales(configured({ normalize: 'none' }), known, estimates), { scale: 1, scaleOut: 1 });
});

test('E|x|² is that of the target', async () => {
  const { about, batches } = source(PIECES);
  const { meanSquare } = await estimate(configured({ l2Normalise: true }), about, batches, never);
  assert.equal(meanSquare, (4 + 16) / 2);
  const itself = { ...about, target: undefined };
  assert.equal((await estimate(configured({ l2Normalise: true }), itself, batches, never)).meanSquare, (25 + 100) / 2);
});

test('activations are read only if a norm is not known', () => {
  const of = (meanNorm: number | null, out?: number | null) =>
    looksBefore(configured({ start: 'zero', bDecInit: 'zero' }), 'gated', {
      meanNorm,
      ...(out !== undefined && { target: { meanNorm: out } }),
    });
  assert.deepEqual([of(1), of(null), of(1, 2), of(1, null), of(null, 2)], [false, true, false, true, true]);
});

test('activations are read for the thresholds of a sparse start, and for b_dec', () => {
  const looks = (values: Partial<TrainConfig>, architecture: ArchitectureName = 'gated') =>
    looksBefore(configured({ bDecInit: 'zero', ...values }), architecture, { meanNorm: 1 });
  assert.equal(looks({}), true);
  assert.equal(looks({ start: 'zero', bDecInit: 'geometric-median' }), true);
  assert.equal(looks({ init: 'a', bDecInit: 'geometric-median' }), false);
  assert.equal(looks({ start: 'zero' }), false);
  assert.equal(looks({ init: 'a' }), false);
  assert.equal(looks({}, 'topk'), true);
  assert.equal(looks({}, 'gated_untied'), true);
  const few = { start: 'zero', maxActivationNormMultiple: undefined } as const;
  assert.equal(looks(few), true, 'a few long ones may be left out');
  assert.equal(looks({ ...few, init: 'a' }), false);
});

test('targets that are zero are refused by their hook', async () => {
  const { about, batches } = source(PIECES.map((piece) => ({ ...piece, target: new Float32Array(3) })));
  await refuses(() => estimate(configured(), about, batches, never), 'train/no-scale', 'targets at b');
});

test("λ of the paper's convention is of the target's width and scale", () => {
  const config = { l1: 2, l1Convention: 'paper', l2Normalise: false } as const;
  const { value, sentence } = sparsityCoefficient(config, { width: 3, scale: 0.5, meanSquare: null, target: true });
  assert.equal(value, 2 * 3 * 0.5);
  assert.match(sentence, /d_out 3 × target scale 0\.5/);
});

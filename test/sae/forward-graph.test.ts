import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scaleActivations } from '../../src/sae/convert.js';
import { initialise, PARAMETERS } from '../../src/sae/registry.js';
import { type ArchitectureName, architectures, type ForwardSettings, type Sae, square } from '../../src/sae/sae.js';
import { relativeDifference } from '../golden.js';
import { randomInputs, randomSae } from './random-sae.js';
import { runForward } from './run-forward.js';
import { slowForward } from './slow-forward.js';

const BATCH = 5;

async function assertForward(sae: Sae, x: Float32Array): Promise<void> {
  const { dIn, dSae } = sae;
  const fast = await runForward(sae, x);
  for (let b = 0; b < BATCH; b++) {
    const slow = slowForward(sae, x.subarray(b * dIn, (b + 1) * dIn));
    assert.ok(relativeDifference(fast.f.subarray(b * dSae, (b + 1) * dSae), slow.f) < 1e-5, `f of row ${b}`);
    assert.ok(relativeDifference(fast.xHat.subarray(b * dIn, (b + 1) * dIn), slow.xHat) < 1e-5, `x̂ of row ${b}`);
  }
}

for (const architecture of architectures) {
  test(`the ${architecture} forward pass equals the equations entry by entry`, async () => {
    for (const [dIn, dSae, seed] of [
      [1, 1, 1],
      [3, 7, 2],
      [16, 33, 3],
    ] as const) {
      await assertForward(randomSae(architecture, dIn, dSae, seed), randomInputs(BATCH * dIn, seed));
    }
  });

  test(`a ${architecture} SAE folded to the activation scale s does to s·x what it did to x, times s`, () => {
    const sae = randomSae(architecture, 12, 30, 4);
    const x = randomInputs(12, 5);
    const s = 3.7;
    const before = slowForward(sae, x);
    const after = slowForward(
      scaleActivations(sae, s),
      x.map((value) => value * s),
    );
    const times = (values: Float64Array) => values.map((value) => value * s);
    assert.ok(before.f.some((value) => value > 0));
    assert.ok(relativeDifference(after.f, times(before.f)) < 1e-5);
    assert.ok(relativeDifference(after.xHat, times(before.xHat)) < 1e-5);
  });
}

for (const [architecture, more] of [
  ['gated', { apply_b_dec_to_input: false }],
  ['gated_untied', { apply_b_dec_to_input: false }],
  ['standard', { normalize_activations: 'constant_norm_rescale' }],
  ['jumprelu', { apply_b_dec_to_input: false, normalize_activations: 'layer_norm' }],
  ['topk', { k: 1 }],
  ['topk', { k: 33 }],
  ['topk', { k: 4, rescale_acts_by_decoder_norm: true, normalize_activations: 'layer_norm' }],
] as const satisfies [ArchitectureName, Partial<ForwardSettings>][]) {
  test(`the ${architecture} forward pass with ${JSON.stringify(more)}`, async () => {
    const sae = randomSae(architecture, 16, 33, 6, more);
    // Far from norm √d_in and mean 0, and rows of W_dec of different norms.
    const x = randomInputs(BATCH * 16, 7).map((value) => 0.2 + 3 * value);
    for (let j = 0; j < 33; j++) for (let i = 0; i < 16; i++) sae.parameters.W_dec![j * 16 + i]! *= 1 + (j % 3);
    await assertForward(sae, x);
    const plain = await runForward(randomSae(architecture, 16, 33, 6), x);
    assert.ok(relativeDifference((await runForward(sae, x)).f, plain.f) > 1e-3, 'the setting changes nothing');
  });
}

test('initialisation: unit decoder rows, the encoder their transpose, zero biases, set by the seed', () => {
  for (const architecture of ['gated', 'standard', 'gated_untied'] as const) {
    const { parameters: w } = initialise(architecture, square(10, 25), 7);
    for (let j = 0; j < 25; j++) {
      assert.ok(Math.abs(Math.hypot(...w.W_dec!.subarray(j * 10, (j + 1) * 10)) - 1) < 1e-6);
      for (let i = 0; i < 10; i++) assert.equal(w.W_enc![i * 25 + j], w.W_dec![j * 10 + i]);
    }
    for (const name of PARAMETERS[architecture]) {
      if (!name.startsWith('W_'))
        assert.ok(
          w[name]!.every((value) => value === 0),
          name,
        );
    }
    if (architecture === 'gated_untied') {
      assert.deepEqual(w.W_mag, w.W_enc);
      assert.notEqual(w.W_mag, w.W_enc);
    }
    assert.deepEqual(initialise(architecture, square(10, 25), 7).parameters, w);
    assert.notDeepEqual(initialise(architecture, square(10, 25), 8).parameters.W_dec, w.W_dec);
  }
});

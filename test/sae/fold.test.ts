import assert from 'node:assert/strict';
import { test } from 'node:test';
import { folded } from '../../src/sae/convert.js';
import { architectures, type Sae } from '../../src/sae/sae.js';
import { refuses } from '../config/refuses.js';
import { randomInputs, randomSae } from './random-sae.js';
import { runForward } from './run-forward.js';

const [D_IN, D_SAE, ROWS] = [12, 30, 40];
const x = randomInputs(ROWS * D_IN, 7);

function rowsOf({ parameters }: Sae): number[] {
  return Array.from({ length: D_SAE }, (_, j) => Math.hypot(...parameters.W_dec!.subarray(j * D_IN, (j + 1) * D_IN)));
}

async function sameReconstruction(before: Sae, after: Sae): Promise<void> {
  const [a, b] = [await runForward(before, x), await runForward(after, x)];
  const largest = a.xHat.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  assert.ok(a.f.some((value) => value > 0) && a.f.some((value) => value === 0));
  for (const [i, value] of b.xHat.entries()) assert.ok(Math.abs(value - a.xHat[i]!) < 1e-5 * largest, `${i}`);
  for (const [i, value] of b.f.entries()) assert.equal(value > 0, a.f[i]! > 0, `${i}`);
}

for (const architecture of architectures) {
  for (const apply_b_dec_to_input of [true, false]) {
    const input = apply_b_dec_to_input ? 'x − b_dec' : 'x';
    test(`a ${architecture} SAE that encodes ${input} computes the same with decoder rows of norm 1`, async () => {
      const more = architecture === 'topk' ? { rescale_acts_by_decoder_norm: true } : {};
      const sae = randomSae(architecture, D_IN, D_SAE, 3, { apply_b_dec_to_input, ...more });
      assert.ok(rowsOf(sae).every((norm) => Math.abs(norm - 1) > 1e-4));
      const result = folded(sae, true, 'it');
      assert.equal(result.rows, D_SAE);
      for (const norm of rowsOf(result.sae)) assert.ok(Math.abs(norm - 1) < 1e-6);
      assert.ok(result.sae.forward!.apply_b_dec_to_input);
      await sameReconstruction(sae, result.sae);
      // Again, and nothing moves.
      const again = folded(result.sae, true, 'it');
      assert.deepEqual([again.rows, again.sae], [0, result.sae]);
    });
  }
}

test('a decoder that is not trained keeps its rows, and rows of zeros stay what they are', async () => {
  const sae = randomSae('gated', D_IN, D_SAE, 4, { apply_b_dec_to_input: false });
  const kept = folded(sae, false, 'it').sae;
  assert.deepEqual(kept.parameters.W_dec, sae.parameters.W_dec);
  await sameReconstruction(sae, kept);
  sae.parameters.W_dec!.fill(0, 2 * D_IN, 3 * D_IN);
  const { sae: folded_, rows } = folded(sae, true, 'it');
  assert.equal(rows, D_SAE - 1);
  assert.deepEqual(rowsOf(folded_)[2], 0);
  await sameReconstruction(sae, folded_);
});

test('what no weights of that form compute is refused', async () => {
  for (const normalize_activations of ['layer_norm', 'constant_norm_rescale'] as const) {
    const sae = randomSae('gated', D_IN, D_SAE, 5, { normalize_activations });
    await refuses(async () => folded(sae, true, 'runs/a'), 'sae/normalisation', 'runs/a', normalize_activations);
  }
  await refuses(
    async () => folded(randomSae('topk', D_IN, D_SAE, 5), true, 'runs/a'),
    'sae/topk-norms',
    'runs/a',
    'topk',
  );
});

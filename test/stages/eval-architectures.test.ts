import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { evalSchema } from '../../src/config/stages/eval.js';
import { convertSchema, exportSchema } from '../../src/config/stages/saes.js';
import { evaluate } from '../../src/eval/evaluate.js';
import type { EvalRecord } from '../../src/eval/record.js';
import { silent } from '../../src/progress/progress.js';
import { exportSae } from '../../src/sae/export.js';
import { convertSae } from '../../src/sae/published/convert-to.js';
import type { Sae } from '../../src/sae/sae.js';
import { saveSae } from '../../src/sae/saelens.js';
import { useCache } from '../sae/published/opened.js';
import { randomSae } from '../sae/random-sae.js';
import { temporaryDirectory } from '../temporary.js';

const HOOK = 'blocks.2.hook_resid_post';
const D = 192;
useCache();
const root = temporaryDirectory();
let counter = 0;

async function saved(sae: Sae): Promise<string> {
  const directory = join(root, String(counter++));
  mkdirSync(directory);
  await saveSae(directory, sae, { hook_name: HOOK, context_size: 256 });
  return directory;
}

function evaluated(sae: string[], more: { context?: number; hook?: string } = {}): Promise<EvalRecord[]> {
  const corpus = 'assets/corpus/validation.jsonl.gz';
  const config = {
    sae,
    model: 'assets/tiny-gemma',
    corpus,
    tokens: 500,
    out: join(root, `eval-${counter++}`),
    ...more,
  };
  return evaluate(evalSchema.parse(config), silent, { signal: undefined });
}

/** Features ±x_i, so that those that fire sum up to x. */
function signs(): { W_enc: Float32Array; W_dec: Float32Array; b_dec: Float32Array } {
  const [W_enc, W_dec] = [new Float32Array(D * 2 * D), new Float32Array(2 * D * D)];
  for (let i = 0; i < D; i++) {
    W_enc[i * 2 * D + i] = 1;
    W_enc[i * 2 * D + D + i] = -1;
    W_dec[i * D + i] = 1;
    W_dec[(D + i) * D + i] = -1;
  }
  return { W_enc, W_dec, b_dec: new Float32Array(D) };
}

test('a gated SAE and the JumpReLU exported from it have the same metrics', async () => {
  const gated = await saved(randomSae('gated', D, 300, 5));
  const out = join(root, 'jumprelu');
  await exportSae(exportSchema.parse({ sae: gated, as: 'jumprelu', out }));
  const [a, b] = (await evaluated([gated, out])) as [EvalRecord, EvalRecord];
  assert.deepEqual([a.architecture, b.architecture], ['gated', 'jumprelu']);
  assert.ok(a.l0 > 10 && a.l0 < 290);
  for (const name of ['l0', 'mse', 'kl', 'ce_spliced', 'cosine', 'relative_reconstruction_bias'] as const) {
    assert.ok(Math.abs(b[name] - a[name]) < 1e-3 * Math.abs(a[name]), `${name}: ${a[name]} and ${b[name]}`);
  }
});

for (const [architecture, layouts] of [
  ['jumprelu', ['saelens', 'gemma-scope', 'dictionary-learning']],
  ['topk', ['saelens', 'sparsify', 'dictionary-learning']],
] as const) {
  test(`a ${architecture} SAE has the same metrics in every layout that holds it`, async () => {
    const sae = await saved(randomSae(architecture, D, 300, 5));
    const saes = [sae];
    for (const as of layouts) {
      const out = join(root, `${architecture}-${as}`);
      await convertSae(convertSchema.parse({ sae, as, out }), silent, { signal: undefined });
      saes.push(out);
    }
    // Gemma Scope has context and hook in the names of its folders.
    const [first, ...others] = await evaluated(saes, { context: 256, hook: HOOK });
    assert.equal(others.length, layouts.length);
    for (const other of others) {
      for (const name of ['l0', 'mse', 'kl', 'ce_spliced', 'cosine', 'relative_reconstruction_bias'] as const) {
        const [a, b] = [first![name], other[name]];
        assert.ok(Math.abs(b - a) < 1e-4 * Math.abs(a), `${other.sae}: ${name}: ${a} and ${b}`);
      }
    }
  });
}

test('topk, jumprelu and untied gated SAEs that are the identity, or shrink it, give what is known', async () => {
  const zeros = () => new Float32Array(2 * D);
  const shape = { dIn: D, dOut: D, dSae: 2 * D };
  const topk = (k: number): Sae => ({
    ...shape,
    architecture: 'topk',
    forward: {
      apply_b_dec_to_input: true,
      normalize_activations: 'none',
      k,
      rescale_acts_by_decoder_norm: true,
    },
    parameters: { ...signs(), b_enc: zeros() },
  });
  const jumprelu: Sae = {
    ...shape,
    architecture: 'jumprelu',
    parameters: { ...signs(), b_enc: zeros(), threshold: zeros() },
  };
  const { W_enc, ...rest } = signs();
  const untied: Sae = {
    ...shape,
    architecture: 'gated_untied',
    parameters: { ...rest, W_enc, W_mag: W_enc.map((w) => 0.8 * w), b_gate: zeros(), b_mag: zeros() },
  };
  const records = await evaluated([
    await saved(topk(D)),
    await saved(topk(7)),
    await saved(jumprelu),
    await saved(untied),
  ]);
  const [all, seven, jump, shrunken] = records as [EvalRecord, EvalRecord, EvalRecord, EvalRecord];
  for (const perfect of [all, jump]) {
    assert.ok(Math.abs(perfect.loss_recovered - 1) < 1e-3 && perfect.mse < 1e-4, perfect.architecture);
    assert.ok(Math.abs(perfect.l0 - D) < 0.1, `${perfect.l0}`);
  }
  assert.equal(seven.l0, 7);
  assert.ok(seven.explained_variance < all.explained_variance);
  assert.ok(Math.abs(shrunken.relative_reconstruction_bias - 0.8) < 1e-5);
  assert.ok(Math.abs(shrunken.cosine - 1) < 1e-5);
});

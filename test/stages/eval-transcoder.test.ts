import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { evalSchema } from '../../src/config/stages/eval.js';
import { evaluate, evaluateOnce } from '../../src/eval/evaluate.js';
import { readEvaluation } from '../../src/eval/record.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { familyOf } from '../../src/report/family-styles.js';
import type { Sae } from '../../src/sae/sae.js';
import { saveSae } from '../../src/sae/saelens.js';
import { readFloats } from '../../src/safetensors/floats.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
const MODEL = 'assets/tiny-gemma';
const [D_MODEL, D_FF] = [192, 768];
const [POST, NORMED, OUT] = ['blocks.1.mlp.hook_post', 'blocks.1.ln2.hook_normalized', 'blocks.1.hook_mlp_out'];
const PLAIN = { apply_b_dec_to_input: false, normalize_activations: 'none' } as const;
let counter = 0;

async function saved(sae: Sae, hook_name: string, hook_name_out?: string): Promise<string> {
  const directory = join(root, String(counter++));
  mkdirSync(directory);
  await saveSae(directory, sae, { hook_name, ...(hook_name_out !== undefined && { hook_name_out }) });
  return directory;
}

/** W_down of block 1, [d_model, d_ff]: what makes mlp_out of post. */
async function projection(): Promise<Float32Array> {
  const { tensors } = await openCheckpoint(MODEL);
  return readFloats(tensors.get('layers.1.mlp.down_proj.weight')!);
}

/** Nothing but a skip connection. */
const skipping = (W_skip: Float32Array): Sae => ({
  ...{ architecture: 'standard', transcoder: true, skip: true, forward: PLAIN, dIn: D_FF, dOut: D_MODEL, dSae: 2 },
  parameters: {
    ...{ W_enc: new Float32Array(2 * D_FF), W_dec: new Float32Array(2 * D_MODEL), b_enc: new Float32Array(2) },
    ...{ b_dec: new Float32Array(D_MODEL), W_skip },
  },
});

/** The same function by features: of each pair ±post_i one is active, and its decoder row is ± a column of W_down. */
function featured(W: Float32Array): Sae {
  const dSae = 2 * D_FF;
  const W_enc = new Float32Array(D_FF * dSae);
  const W_dec = new Float32Array(dSae * D_MODEL);
  for (let i = 0; i < D_FF; i++) {
    for (const [j, sign] of [
      [2 * i, 1],
      [2 * i + 1, -1],
    ] as const) {
      W_enc[i * dSae + j] = sign;
      for (let o = 0; o < D_MODEL; o++) W_dec[j * D_MODEL + o] = sign * W[o * D_FF + i]!;
    }
  }
  const zeros = { b_enc: new Float32Array(dSae), threshold: new Float32Array(dSae), b_dec: new Float32Array(D_MODEL) };
  return {
    ...{ architecture: 'jumprelu', transcoder: true, forward: PLAIN, dIn: D_FF, dOut: D_MODEL, dSae },
    parameters: { W_enc, W_dec, ...zeros },
  };
}

/** Gives 0 for every input. */
const nothing = (transcoder: boolean): Sae => ({
  ...{ architecture: 'standard', dIn: D_MODEL, dOut: D_MODEL, dSae: 3 },
  ...(transcoder && { transcoder: true, forward: PLAIN }),
  parameters: {
    ...{ W_enc: new Float32Array(D_MODEL * 3), W_dec: new Float32Array(3 * D_MODEL) },
    ...{ b_enc: new Float32Array(3), b_dec: new Float32Array(D_MODEL) },
  },
});

const configured = (sae: string[]) =>
  evalSchema.parse({
    ...{ model: MODEL, corpus: 'assets/corpus/validation.jsonl.gz', context: 64, tokens: 1500 },
    ...{ sae, meanAblation: true, out: join(root, `eval-${counter++}`) },
  });

test('the output of an MLP is replaced by what a transcoder makes of the hook that it reads', async () => {
  const W = await projection();
  const saes = [
    await saved(skipping(W), POST, OUT),
    await saved(featured(W), POST, OUT),
    await saved(nothing(true), NORMED, OUT),
    // An SAE of the same hook is measured in the same pass.
    await saved(nothing(false), OUT),
  ];
  const config = configured(saes);
  const records = await evaluate(config, silent, never);
  assert.deepEqual(
    records.map(({ hook, hook_in, d_in }) => [hook, hook_in, d_in]),
    [
      [OUT, POST, D_FF],
      [OUT, POST, D_FF],
      [OUT, NORMED, D_MODEL],
      [OUT, null, D_MODEL],
    ],
  );
  const near = (value: number, expected: number, tolerance = 1e-4) =>
    assert.ok(Math.abs(value - expected) < tolerance, `${value}, not ${expected}`);
  for (const exact of records.slice(0, 2)) {
    near(exact.ce_spliced, exact.ce_clean);
    near(exact.loss_recovered, 1);
    near(exact.explained_variance, 1);
    near(exact.cosine, 1);
    near(exact.kl, 0);
    near(exact.relative_reconstruction_bias, 1);
  }
  assert.equal(records[0]!.l0, 0);
  assert.ok(records[1]!.l0 > 700 && records[1]!.l0 <= D_FF, `${records[1]!.l0}`);
  for (const zero of records.slice(2)) {
    near(zero.ce_spliced, zero.ce_zero);
    near(zero.loss_recovered, 0);
  }
  assert.ok(records[0]!.ce_zero > records[0]!.ce_clean + 0.01);
  assert.deepEqual(records.map(familyOf), [
    'standard skip transcoder',
    'jumprelu transcoder',
    'standard transcoder',
    'standard',
  ]);
  // It is read back, and known to be done.
  const read = (await readEvaluation(config.out)).map(({ record }) => record.hook_in);
  assert.deepEqual(read, [POST, POST, NORMED, null]);
  const again = await evaluateOnce(config, silent, never);
  assert.deepEqual(
    again.map(({ mse }) => mse),
    records.map(({ mse }) => mse),
  );
});

test('a transcoder that cannot be spliced in is refused by name', async () => {
  const swapped = { ...nothing(true) };
  const other = await saved(swapped, OUT, NORMED);
  await refuses(() => evaluate(configured([other]), silent, never), 'eval/target-before-input');
  const itself = await saved(swapped, OUT, OUT);
  await refuses(() => evaluate(configured([itself]), silent, never), 'eval/target-before-input');
  const nowhere = await saved(swapped, NORMED);
  await refuses(() => evaluate(configured([nowhere]), silent, never), 'eval/no-hook');
  const narrow = await saved(nothing(true), NORMED, POST);
  await refuses(() => evaluate(configured([narrow]), silent, never), 'eval/wrong-width');
});

test('a transcoder of another program is read by the names of SAELens', async () => {
  const W = await projection();
  const ours = await saved(skipping(W), POST, OUT);
  const theirs = join(root, 'theirs');
  cpSync(ours, theirs, { recursive: true });
  const cfg = JSON.parse(readFileSync(join(ours, 'cfg.json'), 'utf8'));
  assert.equal(cfg.architecture, 'skip_transcoder');
  // As SAELens saves one: keys that mean nothing here.
  const more = { dtype: 'float32', activation_fn: 'relu', model_from_pretrained_kwargs: { fold_ln: false } };
  writeFileSync(join(theirs, 'cfg.json'), JSON.stringify({ ...cfg, ...more }));
  const [record] = await evaluate(configured([theirs]), silent, never);
  assert.ok(Math.abs(record!.loss_recovered - 1) < 1e-4);
});

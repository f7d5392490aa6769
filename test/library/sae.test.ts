import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { steerSchema } from '../../src/config/stages/generation.js';
import { steer } from '../../src/generate/steer.js';
import { Activations, bundled, HookedTransformer, SAE, topFeatures } from '../../src/library/index.js';
import { silent } from '../../src/progress/progress.js';
import { type ForwardSettings, type Sae, square } from '../../src/sae/sae.js';
import { saveSae } from '../../src/sae/saelens.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { relativeDifference } from '../golden.js';
import { randomInputs, randomSae } from '../sae/random-sae.js';
import { slowForward } from '../sae/slow-forward.js';
import { temporaryDirectory } from '../temporary.js';

const HOOK = 'blocks.2.hook_resid_post';
const TEXT = 'The receipts of the Treasury for the fiscal year';
const root = temporaryDirectory();
const model = await HookedTransformer.fromPretrained(bundled.model, { threads: 1 });
after(() => model.close());

async function saved(name: string, sae: Sae, more: object = {}): Promise<SAE> {
  const directory = join(root, name);
  mkdirSync(directory);
  await saveSae(directory, sae, { hook_name: HOOK, context_size: 128, ...more });
  return SAE.fromPretrained(directory, { threads: 1 });
}

const random = (more: Partial<ForwardSettings> = {}) => randomSae('standard', 192, 64, 1, more);

for (const architecture of ['standard', 'gated', 'jumprelu', 'topk', 'gated_untied'] as const) {
  test(`${architecture}: features and reconstructions are those of the equations`, async () => {
    const made = randomSae(architecture, 12, 40, 3);
    const sae = await saved(architecture, made);
    const x = new Activations(randomInputs(7 * 12, 5), 12);
    const { features, reconstruction } = await sae.forward(x);
    const slow = Array.from({ length: 7 }, (_, i) => slowForward(made, x.row(i)));
    const all = (part: 'f' | 'xHat') => slow.flatMap((row) => [...row[part]]);
    assert.deepEqual(
      [features.shape, reconstruction.shape],
      [
        [7, 40],
        [7, 12],
      ],
    );
    assert.ok(relativeDifference(features.data, all('f')) < 1e-5);
    assert.ok(relativeDifference(reconstruction.data, all('xHat')) < 1e-5);
    assert.deepEqual((await sae.encode(x)).data, features.data);
    assert.ok(relativeDifference((await sae.decode(features)).data, reconstruction.data) < 1e-6);
    assert.deepEqual((await sae.parameters()).W_dec, made.parameters.W_dec);
    await sae.close();
    assert.deepEqual((await sae.encode(x)).data, features.data, 'a closed SAE opens again');
    const [last] = await Promise.all([sae.encode(x), sae.close()]);
    assert.deepEqual(last.data, features.data, 'what is under way is computed to its end');
  });
}

test('what needs the model, and rows of another width, are refused', async () => {
  const normalised = await saved('normalised', random({ normalize_activations: 'layer_norm' }));
  const f = new Activations(new Float32Array(64), 64);
  await refuses(() => normalised.decode(f), 'library/decode-alone', 'forward');
  await refuses(() => normalised.encode(f), 'library/wrong-width', '64', '192');
  await refuses(() => new Activations(new Float32Array(7), 3), 'library/wrong-width');
  await refuses(() => new Activations(new Float32Array(0), 0), 'library/wrong-width');
  await refuses(() => SAE.fromPretrained(join(root, 'nothing')), 'sae/not-an-sae');
});

test('the top features of a text are the largest of its encoding; what the SAE was not trained on has none', async () => {
  const sae = await saved('top', random());
  const top = await topFeatures(model, sae, TEXT, { count: 4 });
  const { cache } = await model.runWithCache(TEXT, HOOK);
  const f = await sae.encode(cache.get(HOOK)!);
  assert.deepEqual([top.tokens[0]!.counted, top.tokens[0]!.features], [false, []], 'BOS');
  for (const [i, { features, counted }] of top.tokens.entries()) {
    if (i === 0) continue;
    assert.ok(counted);
    const sorted = [...f.row(i)].sort((a, b) => b - a).slice(0, 4);
    for (const [rank, { feature, activation }] of features.entries()) {
      assert.ok(Math.abs(activation - sorted[rank]!) < 1e-3 * sorted[0]!);
      assert.ok(Math.abs(f.row(i)[feature]! - activation) < 1e-3 * sorted[0]!);
    }
  }
  const [strongest] = top.features;
  const { feature, activation, position } = strongest!;
  assert.ok(Math.abs(f.row(position)[feature]! - activation) < 1e-3 * activation);
  assert.ok(top.tokens.every(({ features }) => features.every((one) => one.activation <= activation)));

  const long = await saved('long', random(), { max_activation_norm_multiple: 1, median_activation_norm: 60 });
  const counted = (await topFeatures(model, long, TEXT)).tokens.map((token) => token.counted);
  const norms = [...counted.keys()].map((i) => Math.hypot(...cache.get(HOOK)!.row(i)));
  assert.deepEqual(
    counted,
    norms.map((norm, i) => i > 0 && norm <= 60),
  );
  assert.ok(counted.includes(true));
});

test('an SAE that was trained without BOS reads texts without it, unless the model was opened with one', async (t) => {
  const sae = await saved('no-bos', random(), { prepend_bos: false });
  const { tokens } = await topFeatures(model, sae, TEXT);
  assert.equal(tokens[0]!.strToken, 'T');
  assert.ok(tokens[0]!.counted);
  const told = await HookedTransformer.fromPretrained(bundled.model, { prependBos: true });
  t.after(() => told.close());
  assert.equal((await topFeatures(told, sae, TEXT)).tokens[0]!.strToken, '<bos>');
});

test('steering gives the texts that sae-pipe steer prints', async () => {
  const sae = await saved('steered', random());
  const asked = { model: bundled.model, sae: [sae.name], prompt: [TEXT], tokens: 8, json: true, threads: 1 };
  for (const [flags, change] of [
    [{ set: [40] }, { set: 40 }],
    [{ set: [40], from: 9 }, { set: 40 }],
    [{ scale: [3], errorTerm: false }, { scale: 3 }],
    [{ ablate: true }, { ablate: true }],
  ] as const) {
    const printed: string[] = [];
    const config = steerSchema.parse({ ...asked, feature: ['5'], ...flags });
    await steer(config, { progress: silent, stop: { signal: undefined }, print: (line) => printed.push(line) });
    const [text] = JSON.parse(printed.join('\n')).texts;
    const { from, errorTerm } = { from: undefined, errorTerm: true, ...flags };
    const options = { maxNewTokens: 8, errorTerm, from };
    const { unsteered, steered } = await model.steer(TEXT, { sae, feature: 5, ...change }, options);
    assert.deepEqual([unsteered.text, steered.text], [text.unsteered.text, text.steered[0].text]);
    assert.deepEqual(unsteered, await model.generate(TEXT, { maxNewTokens: 8 }));
  }
});

test('arguments in another order, and options that do not exist, are refused', async () => {
  const sae = await saved('arguments', random());
  const loose = topFeatures as (...given: unknown[]) => Promise<unknown>;
  await refusesUsage(() => loose(sae, model, TEXT), 'config/wrong-value', 'topFeatures(model, sae, text)');
  await refusesUsage(() => loose(model, TEXT, sae), 'config/wrong-value', 'topFeatures(model, sae, text)');
  await refusesUsage(() => loose(model, sae, model.toTokens(TEXT)), 'config/wrong-value', 'string');
  await refusesUsage(() => loose(model, sae, TEXT, { counts: 3 }), 'config/unknown-flag', 'count?');
  const misspelt = { hookname: HOOK } as object;
  await refusesUsage(() => SAE.fromPretrained(sae.name, misspelt), 'config/unknown-flag', 'hookName?');
  const strings = model as unknown as Record<'toTokens' | 'generate' | 'steer', (...given: unknown[]) => unknown>;
  await refusesUsage(() => strings.toTokens(5), 'config/wrong-value', 'string');
  await refusesUsage(() => strings.generate(5), 'config/wrong-value', 'string');
  await refusesUsage(() => strings.steer(undefined, []), 'config/wrong-value', 'string');
});

test('changes that cannot be made are refused', async () => {
  const sae = await saved('refused', random());
  const change = (more: object, feature = 5) => model.steer(TEXT, { sae, feature, ...more } as never);
  await refusesUsage(() => change({}), 'library/wrong-change');
  await refusesUsage(() => change({ set: 1, add: 2 }), 'library/wrong-change');
  for (const feature of [64, -1, 0.5]) await refuses(() => change({ set: 1 }, feature), 'generate/no-feature');
  const twice = [1, 2].map((set) => ({ sae, feature: 5, set }));
  await refusesUsage(() => model.steer(TEXT, twice), 'generate/feature-twice');
  for (const from of [-1, Number.NaN])
    await refusesUsage(() => model.steer(TEXT, twice[0]!, { from }), 'config/wrong-value', 'from');
  for (const count of [0, -1, Number.NaN])
    await refusesUsage(() => topFeatures(model, sae, TEXT, { count }), 'config/wrong-value', 'count');
  await refusesUsage(() => SAE.fromPretrained(sae.name, { threads: 0.5 }), 'config/wrong-value', 'threads');
  const narrow = await saved('narrow', { ...randomSae('standard', 12, 40, 3), ...square(12, 40) });
  await refuses(() => topFeatures(model, narrow, TEXT), 'eval/wrong-width');
});

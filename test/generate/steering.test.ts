import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { openCandidate } from '../../src/eval/candidates.js';
import { type RowChanges, rowChanges, unchangedRow } from '../../src/generate/changes.js';
import { continueTexts } from '../../src/generate/continuation.js';
import { tokenChooser } from '../../src/generate/sampling.js';
import { SteeredLoss } from '../../src/generate/steered-loss.js';
import type { SteeredSae } from '../../src/generate/steering-graph.js';
import { Stepper } from '../../src/generate/stepper.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import type { Change } from '../../src/sae/feature-changes.js';
import { PLAIN, type Sae } from '../../src/sae/sae.js';
import { saveSae } from '../../src/sae/saelens.js';
import { goldenContexts } from '../eval/golden-sae.js';
import { GOLDEN_SAES, goldenSaes } from '../features/golden-folder.js';
import { openGolden, relativeDifference } from '../golden.js';
import { temporaryDirectory } from '../temporary.js';

const MODEL = 'assets/tiny-gemma';
const placement = { device: 'cpu', precision: 'float32' } as const;
const golden = await openGolden('steering');
const long = async (name: string) => {
  const ints = await golden.ints(name);
  return [...ints].filter((_, i) => i % 2 === 0);
};
const prompt = await long('prompt');
const checkpoint = await openCheckpoint(MODEL);
const root = temporaryDirectory();

/** A directory with the transcoder of the golden, and a skip connection where one is given. */
async function transcoder(name: string, W_skip?: Float32Array): Promise<string> {
  const parameters: Sae['parameters'] = { ...(W_skip && { W_skip }) };
  for (const key of ['W_enc', 'W_dec', 'b_dec', 'b_enc'] as const) {
    parameters[key] = await golden.floats(`transcoder/${key}`);
  }
  const sae: Sae = {
    ...{ architecture: 'standard', dIn: 192, dOut: 192, dSae: 24, transcoder: true, parameters },
    forward: { ...PLAIN, apply_b_dec_to_input: false },
    ...(W_skip && { skip: true }),
  };
  const directory = join(root, name);
  mkdirSync(directory);
  const hooks = { hook_name: 'blocks.2.mlp.hook_in', hook_name_out: 'blocks.2.hook_mlp_out' };
  await saveSae(directory, sae, { ...hooks, context_size: 256 });
  return directory;
}

const paths = new Map<string, string>([
  ...(await goldenSaes()).map((path, i) => [GOLDEN_SAES[i]!, path] as const),
  ['transcoder', await transcoder('transcoder')],
]);

async function steeredSae(name: string, errorTerm = true): Promise<SteeredSae> {
  const config = { model: MODEL, anyModel: true };
  const { files, hook, input } = await openCandidate(paths.get(name)!, config, checkpoint);
  return { files, hook, input, errorTerm };
}

const CASES = {
  set: ['set', 3],
  add: ['add', 2],
  scale: ['scale', 2.5],
  ablate: ['ablate', 0],
  'set-decoded': ['set', 3],
} as const;

const afterBos: RowChanges['at'] = (position) => position >= 1;
const changesOf = (features: readonly number[], operation: Change['operation'], strength: number): Change[] =>
  features.map((feature) => ({ sae: 0, feature, operation, strength }));
const notFinite = new Refusal('', '', 'generate/not-finite');
const greedy = tokenChooser({ temperature: 0, seed: 0 }, 0);

for (const name of [...GOLDEN_SAES, 'transcoder']) {
  test(`${name}: changed features give the logits and texts that PyTorch's hooks give`, async () => {
    const features = await long(`features/${name}`);
    for (const errorTerm of [true, false]) {
      const cases = Object.entries(CASES).filter(([key]) => (key === 'set-decoded') !== errorTerm);
      const stepper = await Stepper.open(checkpoint, {
        ...{ placement, longest: 24 },
        saes: [await steeredSae(name, errorTerm)],
      });
      // All cases are texts of one batch, together with the text without a change.
      const clean = unchangedRow(changesOf(features, 'set', 0), 1);
      const rows = cases.map(([, [operation, strength]]) =>
        rowChanges(changesOf(features, operation, strength), 1, afterBos),
      );
      let first = new Float32Array(0);
      const texts = [clean, ...rows].map((changes) => ({ tokens: prompt, choose: greedy, changes, notFinite }));
      const continued = await continueTexts(stepper, texts, {
        ...{
          most: 12,
          ends: new Set<number>(),
          stops: [],
          bytes: () => new Uint8Array(0),
          stop: { signal: undefined },
        },
        onFirst: (logits) => {
          first = new Float32Array(logits);
        },
      });
      for (const [row, key] of ['clean', ...cases.map(([key]) => key)].entries()) {
        const own = first.subarray(row * 4096, (row + 1) * 4096).filter((_, i) => i % 16 === 0);
        const difference = relativeDifference(own, await golden.floats(`${name}/${key}/logits`));
        assert.ok(difference < 1e-4, `${key}: ${difference}`);
        assert.deepEqual(continued[row]!.ids, await long(`${name}/${key}/tokens`), key);
      }
      await stepper.release();
    }
  });

  test(`${name}: a scale of 1 changes no logit`, async () => {
    const { files } = await steeredSae(name);
    const all = Array.from({ length: files.dSae }, (_, j) => j);
    const steered = await Stepper.open(checkpoint, { placement, longest: 12, saes: [await steeredSae(name)] });
    const plain = await Stepper.open(checkpoint, { placement, longest: 12 });
    steered.begin({ pads: [0], changes: [rowChanges(changesOf(all, 'scale', 1), 1, () => true)] });
    plain.begin({ pads: [0] });
    assert.deepEqual(await steered.step(prompt), await plain.step(prompt));
    await steered.release();
    await plain.release();
  });
}

test('several SAEs at once: one of a hook with another, and one further up that reads what was changed', async () => {
  const [gated, jumprelu, mlp] = [
    await steeredSae('gated'),
    await steeredSae('jumprelu'),
    await steeredSae('transcoder'),
  ];
  const { vocabulary } = checkpoint.config;
  /** Logits after the prompt with one feature of each SAE set. */
  const logitsOf = async (saes: readonly SteeredSae[], features: readonly number[]) => {
    const stepper = await Stepper.open(checkpoint, { placement, longest: 12, saes });
    const changes = features.map((feature, sae): Change => ({ sae, feature, operation: 'set', strength: 3 }));
    stepper.begin({ pads: [0], changes: [rowChanges(changes, saes.length, afterBos)] });
    const logits = await stepper.step(prompt);
    await stepper.release();
    return logits;
  };
  const both = await logitsOf([gated, jumprelu], [3, 5]);
  assert.equal(both.length, vocabulary);
  // x + δ₁ + δ₂, whichever comes first.
  assert.ok(relativeDifference(both, await logitsOf([jumprelu, gated], [5, 3])) < 1e-5);
  const [one, other] = [await logitsOf([gated], [3]), await logitsOf([mlp], [1])];
  const three = await logitsOf([mlp, gated], [1, 3]);
  for (const alone of [one, other]) assert.ok(relativeDifference(three, alone) > 1e-3);
});

test('a skip connection is not changed, and is part of the reconstruction', async () => {
  const W_skip = Float32Array.from({ length: 192 * 192 }, (_, i) => (i % 193 === 0 ? 0.5 : 0));
  paths.set('skip', await transcoder('skip', W_skip));
  const logitsOf = async (name: string, errorTerm: boolean) => {
    const stepper = await Stepper.open(checkpoint, {
      placement,
      longest: 12,
      saes: [await steeredSae(name, errorTerm)],
    });
    stepper.begin({ pads: [0], changes: [rowChanges(changesOf([1], 'set', 3), 1, afterBos)] });
    const logits = await stepper.step(prompt);
    await stepper.release();
    return logits;
  };
  assert.ok(relativeDifference(await logitsOf('skip', true), await logitsOf('transcoder', true)) < 1e-6);
  assert.ok(relativeDifference(await logitsOf('skip', false), await logitsOf('transcoder', false)) > 1e-2);
});

test('losses with features changed are those of the logits a step at a time; unchanged, those of the golden', async () => {
  const [context] = goldenContexts([0]);
  const saes = [await steeredSae('gated')];
  const loss = await SteeredLoss.open(checkpoint, 256, saes, { placement, threads: 1, leftOut: 2 });
  const features = await long('features/gated');
  const changed = rowChanges(changesOf(features, 'set', 3), 1, afterBos);
  const all = Number.POSITIVE_INFINITY;
  const clean = await loss.losses([context!], all, unchangedRow(changesOf(features, 'set', 3), 1));
  const whole = await (await openGolden('tiny-gemma')).floats('nll');
  const tokens = [...context!.tokens];
  const counted = tokens.flatMap((token, t) => (t < 255 && token !== 2 && tokens[t + 1] !== 2 ? [t] : []));
  assert.ok(
    relativeDifference(
      clean,
      counted.map((t) => whole[t]!),
    ) < 1e-4,
  );

  const steered = await loss.losses([context!], 20, changed);
  assert.equal(steered.length, 20);
  const stepper = await Stepper.open(checkpoint, { placement, longest: 256, saes });
  stepper.begin({ pads: [0], changes: [changed] });
  const found: number[] = [];
  for (let t = 0; t <= counted[19]!; t++) {
    const logits = await stepper.step([tokens[t]!]);
    const sum = logits.reduce((total, x) => total + Math.exp(x), 0);
    if (counted.includes(t)) found.push(Math.log(sum) - logits[tokens[t + 1]!]!);
  }
  assert.ok(relativeDifference(steered, found) < 1e-4);
  await stepper.release();
  await loss.release();
});

test('a strength that overflows is refused, in the text that it is in', async () => {
  const stepper = await Stepper.open(checkpoint, { placement, longest: 14, saes: [await steeredSae('gated')] });
  const strong = new Refusal('too strong', '', 'generate/not-finite');
  const clean = unchangedRow(changesOf([3], 'set', 0), 1);
  for (const strength of [1e38, 1e25]) {
    const rows = [clean, rowChanges(changesOf([3], 'set', strength), 1, afterBos)];
    const texts = rows.map((changes, i) => ({
      ...{ tokens: prompt, choose: greedy, changes },
      notFinite: i === 0 ? notFinite : strong,
    }));
    const settings = { most: 2, ends: new Set<number>(), stops: [], bytes: () => new Uint8Array(0) };
    await assert.rejects(
      () => continueTexts(stepper, texts, { ...settings, stop: { signal: undefined } }),
      (error) => error === strong,
      `${strength}`,
    );
  }
  await stepper.release();
});

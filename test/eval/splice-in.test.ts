import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSpliceIn } from '../../src/eval/splice-in.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { findHook } from '../../src/lm/hooks.js';
import { openGolden, relativeDifference } from '../golden.js';
import { CONTEXT, goldenContexts, goldenSae } from './golden-sae.js';

const BOS = 2;
const ALL = Number.POSITIVE_INFINITY;
const checkpoint = await openCheckpoint('assets/tiny-gemma');
const hook = findHook('blocks.2.hook_resid_post', checkpoint.config);
const golden = await openGolden('eval');
const tokens = await (await openGolden('tiny-gemma')).ints('tokens');

const NAMES = [
  'ce_spliced',
  'kl',
  'l0',
  'mse',
  'explained_variance',
  'cosine',
  'relative_reconstruction_bias',
  'loss_recovered',
] as const;

for (const [what, prefix] of [
  ['on four contexts', ''],
  ['on a context with a document boundary inside', 'boundary/'],
] as const) {
  test(`splice-in metrics of gated and standard SAEs equal PyTorch ${what}`, async () => {
    const spliceIn = await openSpliceIn(checkpoint, hook, [goldenSae('gated'), goldenSae('standard')], CONTEXT, {});
    const indices = await golden.ints(`${prefix}contexts`);
    await spliceIn.addToMean(goldenContexts(indices), BOS, ALL);
    let counted = 0;
    // Two batches where there are contexts enough, so that sums over batches are seen, too.
    for (const part of [indices.subarray(0, 3), indices.subarray(3)]) {
      if (part.length > 0) counted += await spliceIn.add(goldenContexts(part), BOS, ALL);
    }
    assert.equal(counted, (await golden.ints(`${prefix}counted`))[0]);
    for (const [k, architecture] of (['gated', 'standard'] as const).entries()) {
      const metrics = spliceIn.metrics()[k]!;
      const close = (name: string, value: number, expected: number) =>
        assert.ok(Math.abs(value / expected - 1) < 2e-5, `${architecture}, ${name}: ${value}, not ${expected}`);
      close('ce_clean', metrics.ce_clean, await golden.scalar(`${prefix}ce_clean`));
      close('ce_zero', metrics.ce_zero, await golden.scalar(`${prefix}ce_zero`));
      for (const name of NAMES) close(name, metrics[name], await golden.scalar(`${prefix}${architecture}/${name}`));
      const density = await golden.floats(`${prefix}${architecture}/density`);
      assert.equal(metrics.dead_fraction, density.filter((share) => share === 0).length / density.length);
      assert.ok(relativeDifference(spliceIn.density()[k]!, density) < 1e-6);
    }
    await spliceIn.release();
  });
}

test('SAEs side by side measure the same as one at a time', async () => {
  const both = await openSpliceIn(checkpoint, hook, [goldenSae('gated'), goldenSae('standard')], CONTEXT, {});
  const alone = await openSpliceIn(checkpoint, hook, [goldenSae('standard')], CONTEXT, {});
  for (const spliceIn of [both, alone]) {
    await spliceIn.addToMean(goldenContexts([4, 5]), BOS, ALL);
    await spliceIn.add(goldenContexts([4, 5]), BOS, ALL);
  }
  const [a, b] = [both.metrics()[1]!, alone.metrics()[0]!];
  for (const name of NAMES) assert.ok(Math.abs(a[name] / b[name] - 1) < 1e-5, `${name}: ${a[name]}, ${b[name]}`);
  await both.release();
  await alone.release();
});

test('a batch that goes through the model in several passes measures the same', async () => {
  const whole = await openSpliceIn(checkpoint, hook, [goldenSae('gated')], CONTEXT, {});
  const parts = await openSpliceIn(checkpoint, hook, [goldenSae('gated')], CONTEXT, { passContexts: 2 });
  for (const spliceIn of [whole, parts]) {
    assert.equal(await spliceIn.addToMean(goldenContexts([0, 1, 2, 3, 10]), BOS, 600), 600);
  }
  // 600 positions end within the third of five contexts.
  for (const limit of [600, ALL]) {
    const counted = await whole.add(goldenContexts([0, 1, 2, 3, 10]), BOS, limit);
    assert.equal(await parts.add(goldenContexts([0, 1, 2, 3, 10]), BOS, limit), counted);
    if (limit === 600) assert.equal(counted, 600);
  }
  const [a, b] = [whole.metrics()[0]!, parts.metrics()[0]!];
  for (const name of NAMES) assert.ok(Math.abs(a[name] / b[name] - 1) < 1e-5, `${name}: ${a[name]}, ${b[name]}`);
  await whole.release();
  await parts.release();
});

test('the caller is called after each pass over a part of a batch, and may end it there', async () => {
  const spliceIn = await openSpliceIn(checkpoint, hook, [], CONTEXT, { passContexts: 2 });
  const batch = goldenContexts([0, 1, 2, 3, 10]);
  const told: number[] = [];
  const counted = await spliceIn.add(batch, BOS, ALL, (positions) => {
    told.push(positions);
  });
  assert.equal(told.length, 3);
  assert.equal(told.at(-1), counted);
  assert.ok(told.every((positions, i) => positions > (told[i - 1] ?? 0)));
  const passed: number[] = [];
  const stopped = spliceIn.add(batch, BOS, ALL, (positions) => {
    passed.push(positions);
    throw new Error('stopped');
  });
  await assert.rejects(stopped, /^Error: stopped$/);
  assert.deepEqual(passed, told.slice(0, 1));
  await spliceIn.release();
});

test('a limit counts exactly that many positions, those that come first', async () => {
  const limited = await openSpliceIn(checkpoint, hook, [goldenSae('gated')], CONTEXT, {});
  const whole = await openSpliceIn(checkpoint, hook, [goldenSae('gated')], CONTEXT, {});
  for (const spliceIn of [limited, whole]) await spliceIn.addToMean(goldenContexts([0]), BOS, ALL);
  // A context without an inner BOS counts 254 positions.
  assert.equal(await limited.add(goldenContexts([0, 1]), BOS, 254), 254);
  assert.equal(await whole.add(goldenContexts([0]), BOS, ALL), 254);
  const [a, b] = [limited.metrics()[0]!, whole.metrics()[0]!];
  for (const name of NAMES) assert.ok(Math.abs(a[name] / b[name] - 1) < 1e-5, `${name}: ${a[name]}, ${b[name]}`);
  await limited.release();
  await whole.release();
});

for (const site of [
  'blocks.0.hook_resid_pre',
  'blocks.1.attn.hook_z',
  'blocks.1.hook_resid_mid',
  'blocks.3.mlp.hook_post',
  'blocks.3.hook_resid_post',
]) {
  test(`splicing nothing in at ${site} leaves the clean run as it is`, async () => {
    const spliceIn = await openSpliceIn(checkpoint, findHook(site, checkpoint.config), [], CONTEXT, {});
    await spliceIn.add(goldenContexts([0, 10]), BOS, ALL);
    const { ce_clean, ce_zero } = spliceIn.shared();
    const nll = await (await openGolden('tiny-gemma')).floats('nll');
    const counted = [0, 10].flatMap((c) =>
      Array.from({ length: CONTEXT - 1 }, (_, t) => [c, t] as const).filter(
        ([, t]) => tokens[c * CONTEXT + t] !== BOS && tokens[c * CONTEXT + t + 1] !== BOS,
      ),
    );
    const expected = counted.reduce((sum, [c, t]) => sum + nll[c * (CONTEXT - 1) + t]!, 0) / counted.length;
    assert.ok(Math.abs(ce_clean - expected) < 1e-4, `${ce_clean}, not ${expected}`);
    assert.ok(ce_zero > ce_clean);
    await spliceIn.release();
  });
}

test('the mean comes before what needs it, and is not changed afterwards', async () => {
  for (const [saes, options] of [
    [[goldenSae('gated')], {}],
    [[], { meanAblation: true }],
  ] as const) {
    const spliceIn = await openSpliceIn(checkpoint, hook, saes, CONTEXT, options);
    await assert.rejects(spliceIn.add(goldenContexts([0]), BOS, ALL), /addToMean comes first/);
    assert.equal(await spliceIn.addToMean(goldenContexts([0]), BOS, 100), 100);
    assert.equal(await spliceIn.add(goldenContexts([0]), BOS, 50), 50);
    await assert.rejects(spliceIn.addToMean(goldenContexts([1]), BOS, ALL), /already in use/);
    await spliceIn.release();
  }
});

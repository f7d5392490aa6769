import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Context } from '../../src/corpus/contexts.js';
import { openSpliceIn } from '../../src/eval/splice-in.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { findHook } from '../../src/lm/hooks.js';
import type { Architecture } from '../../src/sae/sae.js';
import { PARAMETERS } from '../../src/sae/sae.js';
import type { SaeFiles } from '../../src/sae/saelens.js';
import { openGolden, relativeDifference } from '../golden.js';

const CONTEXT = 256;
const BOS = 2;
const checkpoint = await openCheckpoint('assets/tiny-gemma');
const hook = findHook('blocks.2.hook_resid_post', checkpoint.config);
const golden = await openGolden('eval');
const tokens = await (await openGolden('tiny-gemma')).ints('tokens');

const contexts = (indices: Iterable<number>): Context[] =>
  [...indices].map((index) => ({
    index,
    tokens: tokens.slice(index * CONTEXT, (index + 1) * CONTEXT),
    documents: new Uint32Array(CONTEXT),
  }));

/** An SAE whose weights lie in the golden file. */
function goldenSae(architecture: Architecture): SaeFiles {
  const tensors = Object.fromEntries(
    PARAMETERS[architecture].map((name) => [name, golden.location(`${architecture}/${name}`)]),
  );
  return { directory: 'golden', architecture, dIn: 192, dSae: 48, metadata: {}, tensors, cfg: {} };
}

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
    let counted = 0;
    // Two batches where there are contexts enough, so that sums over batches are seen, too.
    for (const part of [indices.subarray(0, 3), indices.subarray(3)]) {
      if (part.length > 0) counted += await spliceIn.add(contexts(part), BOS, Number.POSITIVE_INFINITY);
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
  for (const spliceIn of [both, alone]) await spliceIn.add(contexts([4, 5]), BOS, Number.POSITIVE_INFINITY);
  const [a, b] = [both.metrics()[1]!, alone.metrics()[0]!];
  for (const name of NAMES) assert.ok(Math.abs(a[name] / b[name] - 1) < 1e-5, `${name}: ${a[name]}, ${b[name]}`);
  await both.release();
  await alone.release();
});

test('a batch that goes through the model in several passes measures the same', async () => {
  const whole = await openSpliceIn(checkpoint, hook, [goldenSae('gated')], CONTEXT, {});
  const parts = await openSpliceIn(checkpoint, hook, [goldenSae('gated')], CONTEXT, { passContexts: 2 });
  // 600 positions end within the third of five contexts.
  for (const limit of [600, Number.POSITIVE_INFINITY]) {
    const counted = await whole.add(contexts([0, 1, 2, 3, 10]), BOS, limit);
    assert.equal(await parts.add(contexts([0, 1, 2, 3, 10]), BOS, limit), counted);
    if (limit === 600) assert.equal(counted, 600);
  }
  const [a, b] = [whole.metrics()[0]!, parts.metrics()[0]!];
  for (const name of NAMES) assert.ok(Math.abs(a[name] / b[name] - 1) < 1e-5, `${name}: ${a[name]}, ${b[name]}`);
  await whole.release();
  await parts.release();
});

test('a limit counts exactly that many positions, those that come first', async () => {
  const limited = await openSpliceIn(checkpoint, hook, [goldenSae('gated')], CONTEXT, {});
  const whole = await openSpliceIn(checkpoint, hook, [goldenSae('gated')], CONTEXT, {});
  // A context without an inner BOS counts 254 positions.
  assert.equal(await limited.add(contexts([0, 1]), BOS, 254), 254);
  assert.equal(await whole.add(contexts([0]), BOS, Number.POSITIVE_INFINITY), 254);
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
    await spliceIn.add(contexts([0, 10]), BOS, Number.POSITIVE_INFINITY);
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

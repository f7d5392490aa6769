import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSpliceIn } from '../../src/eval/splice-in.js';
import { positionEdges } from '../../src/eval/sums.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { findHook } from '../../src/lm/hooks.js';
import { openGolden, relativeDifference } from '../golden.js';
import { CONTEXT, goldenContexts, goldenSae } from './golden-sae.js';
import { intervalsByHand } from './intervals-by-hand.js';

const BOS = 2;
const ALL = Number.POSITIVE_INFINITY;
const ARCHITECTURES = ['gated', 'standard'] as const;
const checkpoint = await openCheckpoint('assets/tiny-gemma');
const hook = findHook('blocks.2.hook_resid_post', checkpoint.config);
const golden = await openGolden('metrics');
const chosen = await openGolden('eval');

/** Metrics of the golden SAEs over contexts, about the mean of the `pilot` first of them. */
async function measure(indices: Int32Array, { pilot = indices.length, meanAblation = true } = {}) {
  const saes = ARCHITECTURES.map(goldenSae);
  const spliceIn = await openSpliceIn(checkpoint, hook, saes, CONTEXT, { meanAblation, passContexts: 3 });
  await spliceIn.addToMean(goldenContexts(indices.subarray(0, pilot)), BOS, ALL);
  await spliceIn.add(goldenContexts(indices), BOS, ALL);
  const [gated, standard] = spliceIn.metrics();
  await spliceIn.release();
  return { gated: gated!, standard: standard! };
}

function close(what: string, value: number | null, expected: number, tolerance = 2e-5) {
  assert.ok(value !== null && Math.abs(value / expected - 1) < tolerance, `${what}: ${value}, not ${expected}`);
}

/** Entropy of the tokens that are predicted in contexts, each counted again for every one of them. */
function entropyByHand(indices: Int32Array): number {
  const targets = goldenContexts(indices).flatMap(({ tokens }) =>
    [...tokens].filter((id, t) => t > 0 && id !== BOS && tokens[t - 1] !== BOS),
  );
  const different = [...new Set(targets)];
  const logs = different.map((id) => {
    const share = targets.filter((other) => other === id).length / targets.length;
    return -share * Math.log(share);
  });
  return logs.reduce((sum, x) => sum + x, 0) + (different.length - 1) / (2 * targets.length);
}

const NAMES = ['delta_ce', 'loss_recovered_mean', 'fvu', 'explained_variance_tokens', 'norm_ratio'] as const;

for (const [what, prefix] of [
  ['on four contexts', ''],
  ['on a context with a document boundary inside', 'boundary/'],
] as const) {
  test(`mean ablation, errors per token and losses by position equal PyTorch ${what}`, async () => {
    const indices = await chosen.ints(`${prefix}contexts`);
    const both = await measure(indices);
    for (const architecture of ARCHITECTURES) {
      const metrics = both[architecture];
      assert.equal(metrics.contexts, indices.length);
      close('ce_mean', metrics.ce_mean, await golden.scalar(`${prefix}ce_mean`));
      for (const name of NAMES) {
        close(`${architecture}, ${name}`, metrics[name], await golden.scalar(`${prefix}${architecture}/${name}`));
      }
      close('entropy', metrics.unigram_entropy, entropyByHand(indices), 1e-9);
      close('1 − fvu', metrics.explained_variance, 1 - metrics.fvu, 1e-12);
      close('delta', metrics.delta_ce, metrics.ce_spliced - metrics.ce_clean, 1e-9);
      close('dense', metrics.dense_fraction, await golden.scalar(`${prefix}${architecture}/dense_fraction`), 1e-12);

      const counts = await golden.ints(`${prefix}${architecture}/l0_counts`);
      const { edges, counts: bins } = metrics.l0_histogram;
      // An SAE of 48 features has bins of one number.
      const least = edges[0]!;
      assert.deepEqual(bins, [...counts.subarray(least, least + bins.length)]);
      assert.deepEqual(edges, [...counts.keys(), 49].slice(least, least + bins.length + 1));
      assert.equal(
        bins.reduce((sum, n) => sum + n, 0),
        counts.reduce((sum, n) => sum + n, 0),
      );

      const positions = metrics.loss_by_position;
      assert.deepEqual(positions.edges, [...(await golden.ints(`${prefix}edges`))]);
      for (const [name, losses] of [
        ['clean', positions.ce_clean],
        ['zero', positions.ce_zero],
        [architecture, positions.ce_spliced],
      ] as const) {
        assert.ok(relativeDifference(losses, await golden.doubles(`${prefix}by_position/${name}`)) < 2e-5, name);
      }
    }
  });
}

test("intervals equal those computed separately from PyTorch's sums", async () => {
  const both = await measure(await chosen.ints('contexts'));
  const column = async (name: string) => [...(await golden.doubles(name))];
  const [n, clean, zero, mean] = [
    await column('tokens'),
    await column('nll/clean'),
    await column('nll/zero'),
    await column('nll/mean'),
  ];
  for (const architecture of ARCHITECTURES) {
    const [nll, kl, l0, error, variation, product, reconstruction] = await Promise.all(
      ['nll', 'kl', 'l0', 'error', 'variation', 'product', 'reconstruction'].map((name) =>
        column(`${architecture}/${name}`),
      ),
    );
    const expected = intervalsByHand(4, (sum) => ({
      ce_clean: sum(clean) / sum(n),
      ce_spliced: sum(nll!) / sum(n),
      ce_zero: sum(zero) / sum(n),
      delta_ce: (sum(nll!) - sum(clean)) / sum(n),
      loss_recovered: (sum(zero) - sum(nll!)) / (sum(zero) - sum(clean)),
      loss_recovered_mean: (sum(mean) - sum(nll!)) / (sum(mean) - sum(clean)),
      kl: sum(kl!) / sum(n),
      l0: sum(l0!) / sum(n),
      mse: sum(error!) / sum(n),
      explained_variance: 1 - sum(error!) / sum(variation!),
      relative_reconstruction_bias: sum(reconstruction!) / sum(product!),
    }));
    const { cosine, ...intervals } = both[architecture].intervals;
    assert.deepEqual(Object.keys(intervals).sort(), Object.keys(expected).sort());
    for (const [name, [low, high]] of Object.entries(expected)) {
      close(`${architecture}, low of ${name}`, intervals[name]![0], low, 5e-5);
      close(`${architecture}, high of ${name}`, intervals[name]![1], high, 5e-5);
      assert.ok(high > low, name);
    }
    assert.ok(cosine![0] < both[architecture].cosine && both[architecture].cosine < cosine![1]);
  }
});

test('errors per token about the mean of part of the contexts are close to those about the mean of all', async () => {
  const indices = Int32Array.from({ length: 20 }, (_, i) => i);
  const exact = await measure(indices, { meanAblation: false });
  assert.equal(exact.gated.ce_mean, null);
  assert.equal(exact.gated.loss_recovered_mean, null);
  assert.ok(!('loss_recovered_mean' in exact.gated.intervals));
  for (const [pilot, bound] of [
    [3, 2e-3],
    [8, 4e-4],
  ] as const) {
    const near = await measure(indices, { pilot, meanAblation: false });
    for (const architecture of ARCHITECTURES) {
      const [a, b] = [near[architecture], exact[architecture]];
      // Uncorrected, they are off by ten times as much.
      const off = Math.abs(a.explained_variance_tokens - b.explained_variance_tokens);
      assert.ok(off < bound, `${architecture}, ${pilot}: ${off}`);
      close('fvu', a.fvu, b.fvu, 1e-6);
      for (const end of [0, 1]) {
        close('interval', a.intervals.explained_variance![end]!, b.intervals.explained_variance![end]!, 1e-5);
      }
    }
  }
});

test('edges by position begin after BOS, end before the last token, and are integers', () => {
  assert.deepEqual(positionEdges(3), [1, 2]);
  assert.deepEqual(positionEdges(6), [1, 2, 3, 4, 5]);
  const edges = positionEdges(1024);
  assert.equal(edges.length, 17);
  assert.deepEqual([edges[0], edges[16]], [1, 1023]);
  for (let i = 0; i < 16; i++) assert.ok([63, 64].includes(edges[i + 1]! - edges[i]!));
});

test('explained variance per dimension, and what a few hold of the variance, equal PyTorch', async () => {
  const both = await measure(await chosen.ints('contexts'));
  for (const architecture of ARCHITECTURES) {
    const metrics = both[architecture];
    const [median, negative] = await golden.doubles(`${architecture}/explained_variance_dimensions`);
    close('median', metrics.explained_variance_dimensions.median, median!, 1e-4);
    assert.ok(Math.abs(metrics.explained_variance_dimensions.negative - negative!) < 1e-9);
    const [tokens, largest, dimensions] = await golden.doubles('held');
    close('tokens', metrics.variance_held.tokens, tokens!, 1e-4);
    close('largest dimension', metrics.variance_held.largest_dimension, largest!, 1e-4);
    close('dimensions', metrics.variance_held.dimensions, dimensions!, 1e-4);
  }
});

test('positions that are too long keep their activation and do not count, as in PyTorch', async () => {
  const indices = await chosen.ints('contexts');
  const saes = ARCHITECTURES.map(goldenSae);
  const longest = await golden.scalar('long/longest');
  const normRule = { hook, multiple: 2, median: longest / 2 };
  const spliceIn = await openSpliceIn(checkpoint, hook, saes, CONTEXT, {
    meanAblation: true,
    passContexts: 3,
    normRule,
  });
  await spliceIn.addToMean(goldenContexts(indices), BOS, ALL);
  const counted = await spliceIn.add(goldenContexts(indices), BOS, ALL);
  const metrics = spliceIn.metrics();
  await spliceIn.release();
  const tokens = await golden.doubles('long/tokens');
  const all = await golden.doubles('tokens');
  const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
  assert.equal(counted, sum(tokens));
  assert.equal(metrics[0]!.left_out, sum(all) - sum(tokens));
  assert.ok(counted < 0.95 * sum(all));
  for (const [k, architecture] of ARCHITECTURES.entries()) {
    const { ce_mean, ...found } = metrics[k]!;
    close('ce_mean', ce_mean, await golden.scalar('long/ce_mean'));
    for (const name of NAMES) close(name, found[name], await golden.scalar(`long/${architecture}/${name}`));
    const nll = await golden.doubles(`long/${architecture}/nll`);
    close('ce_spliced', found.ce_spliced, sum(nll) / counted);
    const zero = await golden.doubles('long/nll/zero');
    close('ce_zero', found.ce_zero, sum(zero) / counted);
  }
});

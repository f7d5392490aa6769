import assert from 'node:assert/strict';
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { effectiveRank, symmetricEigenvalues } from '../../src/activations/eigenvalues.js';
import type { ActivationDType, Manifest } from '../../src/activations/manifest.js';
import { readManifest, writeManifest } from '../../src/activations/manifest.js';
import { type ActivationArray, allocateRows } from '../../src/activations/rows.js';
import { ActivationSums, gammaOf, readStatistics, writeStatistics } from '../../src/activations/statistics.js';
import { StoreWriter, Window } from '../../src/activations/store-writer.js';
import { inspectSchema } from '../../src/config/stages/machine.js';
import type { Inspection } from '../../src/inspect/figures.js';
import { inspectStore } from '../../src/inspect/inspect.js';
import { inspectionTable } from '../../src/inspect/inspect-table.js';
import { silent } from '../../src/progress/progress.js';
import { toBfloat16, widen } from '../../src/safetensors/floats.js';
import { context, emptyManifest } from '../activations/synthetic.js';
import { openGolden } from '../golden.js';
import { randomInputs } from '../sae/random-sae.js';
import { temporaryDirectory } from '../temporary.js';

const [D, CONTEXTS, PER] = [6, 60, 4];
const N = CONTEXTS * PER;
const LONG = 101;
const never = { signal: undefined };

/** Rows with a mean, a dominating dimension 2, and one row that is 40 times as long. */
const values = randomInputs(N * D, 9).map((value, k) => {
  const [row, i] = [Math.floor(k / D), k % D];
  return (row === LONG ? 40 : 1) * ((i === 2 ? 20 : 1) * value + 3);
});

/** Values as a store of that type keeps them; float16 of whole numbers and halves. */
function stored(dtype: ActivationDType) {
  if (dtype === 'float32') return values;
  if (dtype === 'bfloat16') return toBfloat16(values);
  return Uint16Array.from(values, (value) => {
    const magnitude = Math.max(1, Math.min(60000, Math.abs(value)));
    const exponent = Math.floor(Math.log2(magnitude));
    const bits = ((exponent + 15) << 10) | Math.floor((magnitude / 2 ** exponent - 1) * 1024);
    return value < 0 ? bits | 0x8000 : bits;
  });
}

/** A store of rows [rows × d], in two windows of several shards. */
async function storeOf(
  t: TestContext,
  dtype: ActivationDType,
  all: ActivationArray = stored(dtype),
  d = D,
): Promise<{ directory: string; manifest: Manifest }> {
  const directory = temporaryDirectory(t);
  const total = all.length / d;
  const manifest = emptyManifest(total, { d_in: d, dtype, rows_per_shard: 50 });
  await writeManifest(directory, manifest);
  const writer = new StoreWriter(directory, manifest);
  for (let index = 0; index < 2; index++) {
    const window = new Window(index, d, dtype);
    const half = total / 2;
    const rows = allocateRows(half, d, dtype);
    (rows.activation as Float32Array).set(all.subarray(index * half * d, (index + 1) * half * d) as Float32Array);
    for (let row = 0; row < half; row++) {
      const at = index * half + row;
      rows.context[row] = Math.floor(at / PER);
      rows.pos[row] = 1 + (at % PER);
      rows.token[row] = context(rows.context[row]!).tokens[rows.pos[row]!]!;
    }
    const contexts = total / PER;
    for (let i = 0; i < contexts / 2; i++) window.contexts.push(context((index * contexts) / 2 + i));
    window.add(rows, new Float32Array(half));
    await writer.writeWindow(window);
  }
  return { directory, manifest: await readManifest(directory) };
}

const inspect = (store: string, more: object = {}) =>
  inspectStore(inspectSchema.parse({ store, threads: 1, ...more }), silent, never);

/** The same by hand, from all rows at once. */
function byHand(x: Float32Array) {
  const row = (r: number) => x.subarray(r * D, (r + 1) * D);
  const over = (of: (r: number) => number, rows = [...Array(N).keys()]) =>
    rows.reduce((sum, r) => sum + of(r), 0) / rows.length;
  const moments = (value: (r: number, i: number) => number) => {
    const mean = Array.from({ length: D }, (_, i) => over((r) => value(r, i)));
    const variance = mean.map((m, i) => over((r) => (value(r, i) - m) ** 2));
    return { mean, variance, gamma: Math.hypot(...mean) / Math.sqrt(variance.reduce((a, b) => a + b, 0)) };
  };
  const normed = (r: number, i: number) => {
    const mean = row(r).reduce((a, b) => a + b, 0) / D;
    const deviation = Math.sqrt(row(r).reduce((a, b) => a + (b - mean) ** 2, 0) / D);
    return (row(r)[i]! - mean) / deviation;
  };
  const raw = moments((r, i) => row(r)[i]!);
  const rank = (rows: number[]) => {
    const mean = Array.from({ length: D }, (_, i) => over((r) => row(r)[i]!, rows));
    const matrix = Float64Array.from({ length: D * D }, (_, k) => {
      const [i, j] = [Math.floor(k / D), k % D];
      return over((r) => (row(r)[i]! - mean[i]!) * (row(r)[j]! - mean[j]!), rows);
    });
    return effectiveRank(symmetricEigenvalues(matrix, D));
  };
  const all = [...Array(N).keys()];
  const norms = all.map((r) => Math.hypot(...row(r)));
  const spread = all.map((r) => row(r).reduce((sum, value, i) => sum + (value - raw.mean[i]!) ** 2, 0));
  return { raw, layerNorm: moments(normed).gamma, norms, spread, rank, all };
}

const near = (what: string, a: number | null, b: number, tolerance = 5e-5) =>
  assert.ok(a !== null && Math.abs(a / b - 1) < tolerance, `${what}: ${a}, not ${b}`);

for (const dtype of ['float32', 'bfloat16', 'float16'] as const) {
  test(`inspect's numbers of a ${dtype} store are those of its rows, with statistics and without`, async (t) => {
    const { directory, manifest } = await storeOf(t, dtype);
    const found = await inspect(directory, { k: 2, dSae: 50 });
    const x = widen(stored(dtype), dtype);
    const expected = byHand(x);
    near('γ', found.gamma.raw, expected.raw.gamma);
    near('γ after LayerNorm', found.gamma.layer_norm, expected.layerNorm);
    const sorted = [...expected.norms].sort((a, b) => a - b);
    near('median', found.norms.median, (sorted[N / 2 - 1]! + sorted[N / 2]!) / 2);
    near('largest norm', found.norms.quantiles.at(-1)!.norm, sorted.at(-1)!);
    near(
      '0.95',
      found.norms.quantiles.find(({ share }) => share === 0.95)!.norm,
      sorted[227]! + 0.05 * (sorted[228]! - sorted[227]!),
    );
    const total = expected.raw.variance.reduce((a, b) => a + b, 0);
    const [largest] = found.dimensions.largest;
    assert.equal(largest!.dimension, 2);
    near('share of dimension 2', largest!.share, expected.raw.variance[2]! / total);
    near('largest tokens', found.tokens.largest.share_of_variance, expected.spread[LONG]! / (N * total), 2e-4);
    const { threshold, rows } = found.tokens.large;
    const ordinary = expected.all.filter((r) => expected.norms[r]! <= threshold);
    assert.equal(rows, N - ordinary.length);
    assert.ok(rows >= 1);
    near('effective rank', found.effective_rank.all, expected.rank(expected.all), 1e-3);
    near('without large tokens', found.effective_rank.without_large_tokens, expected.rank(ordinary), 1e-3);
    assert.equal(found.effective_rank.rows, N);
    const [longest] = found.longest_tokens;
    assert.deepEqual([longest!.context, longest!.pos], [Math.floor(LONG / PER), 1 + (LONG % PER)]);
    assert.equal(longest!.token, context(longest!.context).tokens[longest!.pos]);
    assert.equal(longest!.document, longest!.context >> 1);
    near('norm', longest!.norm, sorted.at(-1)!);

    // A store from before there were statistics gives the same, except for numbers about the mean of its first shard.
    await writeManifest(directory, { ...manifest, statistics: undefined });
    const old = await inspect(directory, { k: 2, dSae: 50 });
    const { tokens: _, ...rest } = found;
    const { tokens, ...others } = old;
    near('largest tokens', tokens.largest.share_of_variance, found.tokens.largest.share_of_variance, 0.1);
    assert.deepEqual(round(others), round(rest));
  });
}

/** To five digits: sums about another centre end in other last bits. */
const round = (value: unknown) =>
  JSON.parse(
    JSON.stringify(value, (_, one) => (typeof one === 'number' ? Number(one.toPrecision(5)) : one)),
  ) as Inspection;

test("of one store, and of two that are parts of it, the numbers are NumPy's", async (t) => {
  const golden = await openGolden('inspect');
  const [x, variance] = [await golden.floats('x'), await golden.doubles('variance')];
  const d = variance.length;
  const { directory, manifest } = await storeOf(t, 'float32', x, d);
  const found = await inspect(directory, { k: 2 });
  near('γ', found.gamma.raw, await golden.scalar('gamma'), 1e-9);
  near('γ after LayerNorm', found.gamma.layer_norm, await golden.scalar('gamma_layer_norm'), 1e-9);
  near('mean of norms', found.norms.mean, await golden.scalar('norm_mean'), 1e-9);
  const [shares, quantiles] = [await golden.doubles('shares'), await golden.doubles('norm_quantiles')];
  for (const [i, { share, norm }] of found.norms.quantiles.entries()) {
    assert.equal(share, shares[i]);
    near(`quantile ${share}`, norm, quantiles[i]!, 2e-5);
  }
  near('median', found.norms.median, quantiles[5]!, 2e-5);
  near('largest token', found.tokens.largest.share_of_variance, await golden.scalar('largest_token'), 1e-4);
  near('large tokens', found.tokens.large.share_of_variance, await golden.scalar('large_tokens'), 1e-4);
  near('effective rank', found.effective_rank.all, await golden.scalar('rank'), 1e-5);
  near('without large', found.effective_rank.without_large_tokens, await golden.scalar('rank_without'), 1e-4);
  const total = variance.reduce((sum, value) => sum + value, 0);
  for (const { dimension, share } of found.dimensions.largest) near('share', share, variance[dimension]! / total, 1e-9);

  const sums = await readStatistics(directory, manifest);
  const [first, second] = [
    await storeOf(t, 'float32', x.subarray(0, 40 * d), d),
    await storeOf(t, 'float32', x.subarray(40 * d), d),
  ];
  const parts = await readStatistics(first.directory, first.manifest);
  parts!.merge((await readStatistics(second.directory, second.manifest))!);
  for (const [name, all] of Object.entries({ whole: sums!, parts: parts! })) {
    near(`γ of the ${name}`, gammaOf(all), await golden.scalar('gamma'), 1e-9);
    const means = await golden.doubles('mean');
    for (let i = 0; i < d; i++) {
      near(`mean ${i} of the ${name}`, all.mean()[i]!, means[i]!, 1e-9);
      near(`variance ${i} of the ${name}`, all.variance()[i]!, variance[i]!, 1e-9);
    }
    const { edges, counts } = all.histogram();
    assert.deepEqual(counts, await golden.ints64('norm_counts'));
    for (const [i, edge] of (await golden.doubles('norm_edges')).entries()) near('edge', edges[i]!, edge, 1e-12);
  }
});

test('statistics of other rows are computed again, and broken ones refused', async (t) => {
  const { directory, manifest } = await storeOf(t, 'float32');
  const kept = manifest.statistics!;
  const whole = await inspect(directory);
  // As where a harvest by an older version added windows: the file is of the rows before them.
  await writeManifest(directory, { ...manifest, statistics: { ...kept, rows: N / 2 } });
  near('γ', (await inspect(directory)).gamma.raw, whole.gamma.raw, 1e-9);
  // A manifest that claims its rows for the sums of others.
  const { file, sha256 } = await writeStatistics(directory, 7, new ActivationSums(D));
  await writeManifest(directory, { ...manifest, statistics: { file, sha256, rows: N } });
  await assert.rejects(inspect(directory), { code: 'activations/statistics-changed' });
  await writeManifest(directory, manifest);
  truncateSync(join(directory, kept.file), 100);
  await assert.rejects(inspect(directory), { code: 'activations/statistics-changed' });
  rmSync(join(directory, kept.file));
  await assert.rejects(inspect(directory), { code: 'activations/statistics-changed' });
});

test('results are the same to the last bit for every number of threads', async (t) => {
  const { directory } = await storeOf(t, 'float32');
  const one = await inspect(directory);
  for (const threads of [2, 3, 8]) assert.deepEqual(await inspect(directory, { threads }), one);
});

test('the table names what is large, and a figure or page is written once', async (t) => {
  const { directory } = await storeOf(t, 'float32');
  const root = temporaryDirectory(t);
  const [svg, html] = [join(root, 'acts.svg'), join(root, 'page.html')];
  const found = await inspect(directory, { out: html });
  const table = inspectionTable(found);
  for (const word of ['γ', 'effective rank', 'dead from the start']) assert.ok(table.includes(word), word);
  assert.ok(readFileSync(html, 'utf8').includes('<svg'));
  await inspect(directory, { out: html });
  writeFileSync(html, 'mine');
  await assert.rejects(inspect(directory, { out: html }), { code: 'disk/out-exists' });
  await assert.rejects(inspect(directory, { out: svg.replace('.svg', '.pdf') }), { code: 'report/unknown-ending' });
  await assert.rejects(inspect(directory, { k: 100 }), { code: 'inspect/k' });
  await assert.rejects(inspect(directory, { model: 'assets/tiny-gemma' }), { code: 'inspect/other-model' });
});

test('a changed shard or file of contexts is refused by name', async (t) => {
  const { directory, manifest } = await storeOf(t, 'float32');
  writeFileSync(join(directory, manifest.contexts[0]!.file), 'x');
  await assert.rejects(inspect(directory), { code: 'activations/contexts-changed' });
  const shard = join(directory, manifest.shards[1]!.file);
  const bytes = readFileSync(shard);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(shard, bytes);
  await assert.rejects(inspect(directory), { code: 'activations/shard-changed' });
});

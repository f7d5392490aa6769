import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ActivationDType, Manifest } from '../../src/activations/manifest.js';
import { readManifest, writeManifest } from '../../src/activations/manifest.js';
import { allocateRows } from '../../src/activations/rows.js';
import { StoreWriter, Window } from '../../src/activations/store-writer.js';
import { inspectSchema } from '../../src/config/stages/machine.js';
import { effectiveRank, symmetricEigenvalues } from '../../src/inspect/eigenvalues.js';
import type { Inspection } from '../../src/inspect/figures.js';
import { inspectStore } from '../../src/inspect/inspect.js';
import { inspectionTable } from '../../src/inspect/inspect-table.js';
import { silent } from '../../src/progress/progress.js';
import { toBfloat16, widen } from '../../src/safetensors/floats.js';
import { context, emptyManifest } from '../activations/synthetic.js';
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

async function storeOf(t: TestContext, dtype: ActivationDType): Promise<{ directory: string; manifest: Manifest }> {
  const directory = temporaryDirectory(t);
  const manifest = emptyManifest(N, { d_in: D, dtype, rows_per_shard: 50 });
  await writeManifest(directory, manifest);
  const writer = new StoreWriter(directory, manifest);
  const all = stored(dtype);
  for (let index = 0; index < 2; index++) {
    const window = new Window(index, D, dtype);
    const half = N / 2;
    const rows = allocateRows(half, D, dtype);
    (rows.activation as Float32Array).set(all.subarray(index * half * D, (index + 1) * half * D) as Float32Array);
    for (let row = 0; row < half; row++) {
      const at = index * half + row;
      rows.context[row] = Math.floor(at / PER);
      rows.pos[row] = 1 + (at % PER);
      rows.token[row] = context(rows.context[row]!).tokens[rows.pos[row]!]!;
    }
    for (let i = 0; i < CONTEXTS / 2; i++) window.contexts.push(context((index * CONTEXTS) / 2 + i));
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
  test(`what inspect tells of a store of ${dtype} is what its rows are, with statistics and without`, async (t) => {
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

    // A store of before there were statistics tells the same, but for what is about the mean of its first shard.
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
});

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { collectFeatures } from '../../src/features/features.js';
import { featuresRecord } from '../../src/features/folder.js';
import { silent } from '../../src/progress/progress.js';
import { openGolden, relativeDifference } from '../golden.js';
import { temporaryDirectory } from '../temporary.js';
import { GOLDEN_SAES, goldenConfig, parquetRows } from './golden-folder.js';

const golden = await openGolden('features');
const tokens = await (await openGolden('tiny-gemma')).ints('tokens');
const N = 48;
const TOP = 6;
const WINDOW = 21;
const CONTEXT = 256;

const out = join(temporaryDirectory(), 'features');
// A batch that divides nothing.
await collectFeatures(await goldenConfig(out, { batch: 3 }), silent, { signal: undefined });
const record = featuresRecord.parse(JSON.parse(readFileSync(join(out, 'features.json'), 'utf8')));

type Row = Record<string, number> & Record<string, number[]>;
const rowsOf = async (sae: string, kind: 'features' | 'examples') =>
  (await parquetRows(join(out, sae, `${kind}-00000.parquet`))) as Row[];
const column = (rows: readonly Row[], name: string) => rows.map((row) => Number(row[name]));

test('the folder holds one directory per SAE, the vocabulary and the record, and nothing else', async () => {
  assert.deepEqual(readdirSync(out).sort(), ['features.json', ...GOLDEN_SAES, 'vocabulary.parquet'].sort());
  assert.deepEqual(readdirSync(join(out, 'gated')).sort(), ['examples-00000.parquet', 'features-00000.parquet']);
  assert.deepEqual([record.tokens, record.context, record.prepend_bos], [5000, CONTEXT, true]);
  assert.deepEqual(
    record.saes.map(({ name, folder, d_sae, cofiring_tokens, k }) => [name, folder, d_sae, cofiring_tokens, k]),
    GOLDEN_SAES.map((name) => [name, name, N, 5000, name === 'topk' ? 5 : undefined]),
  );
  const vocabulary = await parquetRows(join(out, 'vocabulary.parquet'));
  assert.deepEqual(
    vocabulary.map(({ id }) => id),
    Array.from({ length: record.model.vocabulary }, (_, id) => id),
  );
  assert.ok(vocabulary.some(({ text }) => text === ' the'));
});

for (const sae of GOLDEN_SAES) {
  test(`${sae}: statistics, norms and histograms equal NumPy's over the whole text`, async () => {
    const rows = await rowsOf(sae, 'features');
    const ints = (name: string) => golden.ints(`${sae}/${name}`);
    const floats = (name: string) => golden.floats(`${sae}/${name}`);
    assert.deepEqual(column(rows, 'feature'), [...Array(N).keys()]);
    const active = [...(await ints('active'))];
    assert.deepEqual(column(rows, 'active_tokens'), active);
    assert.deepEqual(
      column(rows, 'frequency'),
      active.map((n) => n / 5000),
    );
    const { alive, l0 } = record.saes.find(({ name }) => name === sae)!;
    assert.equal(alive, active.filter((n) => n > 0).length);
    assert.ok(Math.abs(l0 - active.reduce((sum, n) => sum + n, 0) / 5000) < 1e-9);
    const close = async (name: string, expected: ArrayLike<number>) =>
      assert.ok(relativeDifference(column(rows, name), expected) < 1e-5, name);
    const sum = await golden.doubles(`${sae}/sum`);
    await close('max', await floats('max'));
    await close('norm_share', await golden.doubles(`${sae}/norm_share`));
    await close('decoder_norm', await floats('decoder_norm'));
    await close('encoder_norm', await floats('encoder_norm'));
    await close('encoder_decoder_cosine', await floats('cosine'));
    for (const [j, row] of rows.entries()) {
      if (active[j]! === 0) assert.ok(Number.isNaN(row.mean_active));
      else assert.ok(Math.abs(row.mean_active! / (sum[j]! / active[j]!) - 1) < 1e-5, `mean of ${j}`);
    }
    const [first, near] = [(await ints('first'))[0]!, await ints('near_bounds')];
    const counts = await ints('histogram');
    const bins = counts.length / N;
    for (const [j, row] of rows.entries()) {
      const found = row.histogram!.map(Number);
      assert.ok(found.length === 0 || (found[0]! > 0 && found.at(-1)! > 0), `ends of ${j}`);
      let [ours, theirs] = [0, 0];
      for (let b = 0; b < bins; b++) {
        ours += found[first + b - row.histogram_first!] ?? 0;
        theirs += counts[j * bins + b]!;
        assert.ok(Math.abs(ours - theirs) <= near[j]!, `feature ${j}, bin ${b}: ${ours}, ${theirs}`);
      }
      assert.equal(
        found.reduce((total, n) => total + n, 0),
        active[j],
      );
    }
  });

  test(`${sae}: top k, bands and windows equal NumPy's`, async () => {
    const rows = await rowsOf(sae, 'examples');
    const decided = await golden.ints(`${sae}/decided`);
    assert.ok(decided.filter((yes) => yes === 1).length > 0.9 * N);
    const expected = { context: new Map<string, number>(), position: new Map<string, number>() };
    const value = new Map<string, number>();
    for (const [kind, bands, each] of [
      ['top', 1, TOP],
      ['bands', 5, 5],
    ] as const) {
      const values = await golden.floats(`${sae}/${kind}_value`);
      const contexts = await golden.ints(`${sae}/${kind}_context`);
      const positions = await golden.ints(`${sae}/${kind}_position`);
      for (const [at, context] of contexts.entries()) {
        const [j, band, rank] = [Math.floor(at / (bands * each)), Math.floor(at / each) % bands, at % each];
        if (context < 0 || decided[j]! === 0) continue;
        const key = `${j} ${kind === 'top' ? 0 : band + 1} ${rank}`;
        expected.context.set(key, context);
        expected.position.set(key, positions[at]!);
        value.set(key, values[at]!);
      }
    }
    const ours = rows.filter(({ feature }) => decided[feature!]! === 1);
    const keyOf = ({ feature, band, rank }: Row) => `${feature} ${band} ${rank}`;
    for (const name of ['context', 'position'] as const) {
      assert.deepEqual(new Map(ours.map((row) => [keyOf(row), Number(row[name])])), expected[name]);
    }
    for (const row of ours) assert.ok(Math.abs(row.value! / value.get(keyOf(row))! - 1) < 1e-4, keyOf(row));
    // In the order of (feature, band, rank).
    const place = ({ feature, band, rank }: Row) => (feature! * 6 + band!) * 100 + rank!;
    assert.ok(rows.every((row, i) => i === 0 || place(rows[i - 1]!) < place(row)));

    const windows = await golden.floats(`${sae}/top_window`);
    for (const row of ours) {
      const { feature, band, rank, context, position, first, activations } = row;
      assert.equal(first, Math.max(0, position! - 12));
      const end = Math.min(CONTEXT, position! + 9);
      const start = Number(context) * CONTEXT;
      assert.deepEqual(row.tokens, [...tokens.subarray(start + first!, start + end)]);
      assert.equal(activations!.length, end - first!);
      assert.equal(activations![position! - first!], row.value);
      if (band !== 0) continue;
      const from = (feature! * TOP + rank!) * WINDOW + first! - (position! - 12);
      const window = [...windows.subarray(from, from + activations!.length)];
      assert.ok(relativeDifference(activations!, window) < 1e-4, `window of ${keyOf(row)}`);
    }
  });

  test(`${sae}: neighbours, co-firing features and logits equal NumPy's`, async () => {
    const rows = await rowsOf(sae, 'features');
    const together = await golden.ints(`${sae}/together`);
    for (const [listed, values, matrixName, least] of [
      ['decoder_neighbours', 'decoder_cosines', 'decoder_cosine', -2],
      ['encoder_neighbours', 'encoder_cosines', 'encoder_cosine', -2],
      ['cofiring', 'cofiring_correlations', 'correlation', 0],
    ] as const) {
      const matrix = await golden.floats(`${sae}/${matrixName}`);
      for (const [j, row] of rows.entries()) {
        const of = (k: number) => matrix[j * N + k]!;
        const others = [...Array(N).keys()].filter((k) => k !== j && of(k) > least);
        const best = others.map(of).sort((a, b) => b - a);
        assert.equal(new Set(row[listed]).size, Math.min(10, best.length), `${listed} of ${j}`);
        for (const [rank, k] of row[listed]!.entries()) {
          assert.notEqual(k, j);
          assert.ok(Math.abs(row[values]![rank]! - of(k)) < 1e-4, `${listed} of ${j}: ${k}`);
          assert.ok(Math.abs(of(k) - best[rank]!) < 1e-4, `${listed} of ${j}, rank ${rank}`);
          if (listed === 'cofiring') assert.equal(row.cofiring_tokens![rank], together[j * N + k]);
        }
      }
    }
    for (const end of ['top', 'bottom'] as const) {
      const effects = await golden.floats(`${sae}/${end}_logit`);
      const expected = await golden.ints(`${sae}/${end}_logit_token`);
      assert.ok(
        relativeDifference(
          rows.flatMap((row) => row[`${end}_logits`]!),
          effects,
        ) < 1e-4,
      );
      const found = rows.flatMap((row) => row[`${end}_logit_tokens`]!);
      const same = found.filter((token, i) => token === expected[i]).length;
      // Equal logits to rounding may change places.
      assert.ok(same > 0.98 * found.length, `${same} of ${found.length}`);
    }
  });
}

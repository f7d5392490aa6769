import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readManifest, writeManifest } from '../../src/activations/manifest.js';
import { ActivationSums, gammaOf, medianOf, readStatistics } from '../../src/activations/statistics.js';
import { StoreWriter } from '../../src/activations/store-writer.js';
import { toBfloat16, widen } from '../../src/safetensors/floats.js';
import { randomInputs } from '../sae/random-sae.js';
import { temporaryDirectory } from '../temporary.js';
import { emptyManifest, filledWindow } from './synthetic.js';

const [rows, d] = [300, 7];
const close = (a: number, b: number) => assert.ok(Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(b)), `${a}, not ${b}`);

test('sums, norms, mean and variance are those of the values as they are stored', () => {
  for (const dtype of ['float32', 'bfloat16', 'float16'] as const) {
    const x = randomInputs(rows * d, 3).map((value, k) => 3 * value + (k % d));
    const stored =
      dtype === 'float32'
        ? x
        : dtype === 'bfloat16'
          ? toBfloat16(x)
          : Uint16Array.from(x, (_, k) => 0x3c00 + (k % 900));
    const values = widen(stored, dtype);
    const sums = new ActivationSums(d);
    const norms = sums.add(stored, dtype);
    for (let i = 0; i < d; i++) {
      const column = Array.from({ length: rows }, (_, row) => values[row * d + i]!);
      const mean = column.reduce((sum, value) => sum + value, 0) / rows;
      close(sums.mean()[i]!, mean);
      close(sums.variance()[i]!, column.reduce((sum, value) => sum + (value - mean) ** 2, 0) / rows);
    }
    close(norms[5]!, Math.hypot(...values.subarray(5 * d, 6 * d)));
    const { edges, counts } = sums.histogram();
    for (const [i, count] of counts.entries()) {
      const inside = norms.filter((norm) => norm >= edges[i]! && norm < edges[i + 1]!);
      assert.equal(count, inside.length, `${dtype}: bin ${i}`);
    }
    assert.equal(
      counts.reduce((sum, n) => sum + n, 0),
      rows,
    );
  }
});

test('sums of parts are the sums of the whole', () => {
  const x = randomInputs(rows * d, 4);
  const [whole, first, second] = [new ActivationSums(d), new ActivationSums(d), new ActivationSums(d)];
  whole.add(x, 'float32');
  first.add(x.subarray(0, 100 * d), 'float32');
  second.add(x.subarray(100 * d), 'float32');
  first.merge(second);
  assert.equal(first.rows, rows);
  assert.deepEqual(first.histogram(), whole.histogram());
  close(gammaOf(first), gammaOf(whole));
});

test('rows of zeros are counted separately, and a constant has no spread', () => {
  const sums = new ActivationSums(2);
  sums.add(new Float32Array(6), 'float32');
  assert.deepEqual([sums.zeros, sums.histogram().counts, gammaOf(sums)], [3, [], 0]);
  const constant = new ActivationSums(2);
  constant.add(Float32Array.of(1, 2, 1, 2), 'float32');
  assert.equal(gammaOf(constant), Number.POSITIVE_INFINITY);
  assert.deepEqual([medianOf(Float64Array.of(3, 1, 2)), medianOf(Float64Array.of(4, 1, 2, 3))], [2, 2.5]);
});

test('a store has the sums of all its rows in one file, whatever windows they came in', async (t) => {
  const directory = temporaryDirectory(t);
  const manifest = emptyManifest(40);
  await writeManifest(directory, manifest);
  const all = new ActivationSums(manifest.d_in);
  for (const [i, passes] of [3, 2].entries()) {
    const window = filledWindow(i, passes, manifest);
    for (const piece of window.shards(manifest.rows_per_shard, manifest.seed)) {
      const shard = new ActivationSums(manifest.d_in);
      shard.add(piece.activation, 'float32');
      all.merge(shard);
    }
    // As after a stop: what is on disk is all that is known.
    await new StoreWriter(directory, await readManifest(directory)).writeWindow(window);
  }
  const names = readdirSync(directory).filter((name) => name.startsWith('statistics'));
  assert.deepEqual(names, ['statistics-00001.safetensors']);
  const found = await readManifest(directory);
  const kept = await readStatistics(directory, found);
  assert.equal(kept?.rows, 40);
  assert.deepEqual([...kept.sum, ...kept.squares], [...all.sum, ...all.squares]);
  assert.deepEqual(kept.histogram(), all.histogram());

  // Of a store that was made before there were any.
  assert.equal(await readStatistics(directory, { ...found, statistics: undefined }), undefined);
  writeFileSync(join(directory, names[0]!), 'x');
  await assert.rejects(readStatistics(directory, found), { code: 'activations/statistics-changed' });
});

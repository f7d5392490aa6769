import assert from 'node:assert/strict';
import { test } from 'node:test';
import { trainSchema } from '../../src/config/stages/train.js';
import { Generator } from '../../src/random/generator.js';
import { type Directions, directions as drawDirections } from '../../src/sae/directions.js';
import { square } from '../../src/sae/sae.js';
import type { EngineSettings } from '../../src/train/engines/engine.js';
import { withinSubspace } from '../../src/train/subspace.js';
import { refuses } from '../config/refuses.js';
import { axesOf, rowsWithin } from './low-rank.js';

const [d, rank, dSae, rows] = [32, 8, 70, 3000];
const sizes = square(d, dSae);

const within = (
  initSubspace: string,
  x: Float32Array,
  more: { threads?: number; y?: Float32Array; dOut?: number; drawn?: Directions } = {},
) => {
  const { y, drawn = drawDirections(sizes, 0), ...settings } = more;
  const config = trainSchema.parse({ dSae, out: 'o', initSubspace });
  return withinSubspace(drawn, { x, ...(y && { y }) }, config, {
    dIn: d,
    dSae,
    threads: 1,
    ...settings,
  } as EngineSettings);
};

/** Columns of W_enc [d_in, d_sae] as rows. */
const rowsOf = (W_enc: Float32Array, dIn: number) =>
  Float32Array.from(W_enc, (_, at) => W_enc[(at % dIn) * dSae + Math.floor(at / dIn)]!);

/** Part of each row outside the span of orthonormal axes, the largest. */
function outside(directions: Float32Array, axes: readonly Float64Array[]): number {
  let most = 0;
  for (let at = 0; at < directions.length; at += axes[0]!.length) {
    const row = Float64Array.from(directions.subarray(at, at + axes[0]!.length));
    assert.ok(Math.abs(Math.hypot(...row) - 1) < 1e-5);
    for (const axis of axes) {
      const dot = axis.reduce((sum, value, i) => sum + value * row[i]!, 0);
      for (const [i, value] of axis.entries()) row[i]! -= dot * value;
    }
    most = Math.max(most, Math.hypot(...row));
  }
  return most;
}

test('features start within the directions that activations fill, whatever their mean and a few long ones', async () => {
  const x = rowsWithin({ rows, d, rank, seed: 1 });
  // A sink that points elsewhere, a thousand times as long as anything else.
  for (let i = 0; i < d; i++) x[50 * d + i] = 1000 * (i % 2);
  const { directions, sizes: found } = await within('auto', x);
  assert.deepEqual(found, { input: rank });
  assert.deepEqual(rowsOf(directions.W_enc, d), directions.W_dec);
  assert.ok(outside(directions.W_dec, axesOf(d, rank)) < 1e-3);
  // They spread over all of it: no axis has less than a third of its share.
  for (const axis of axesOf(d, rank)) {
    let squares = 0;
    for (let j = 0; j < dSae; j++)
      squares += axis.reduce((sum, value, i) => sum + value * directions.W_dec[j * d + i]!, 0) ** 2;
    assert.ok(squares / dSae > 1 / (3 * rank), String(squares / dSae));
  }
});

test('a given number of directions takes the leading ones', async () => {
  const x = rowsWithin({ rows, d, rank, seed: 2, falling: true });
  const { directions, sizes: found } = await within('3', x);
  assert.deepEqual(found, { input: 3 });
  assert.ok(outside(directions.W_dec, axesOf(d, 3)) < 0.05);
});

test('a dimension that is larger than all others does not count for them', async () => {
  const x = rowsWithin({ rows, d, rank, seed: 3 });
  const random = new Generator(9);
  for (let row = 0; row < rows; row++) x[row * d + 5] = 3000 * random.normal();
  const { sizes: found } = await within('auto', x);
  assert.ok(found.input! >= rank - 1 && found.input! <= rank + 1, JSON.stringify(found));
});

test('activations that fill their dimensions, or are equal or not finite, leave features as they were drawn', async () => {
  const random = new Generator(4);
  const full = Float32Array.from({ length: rows * d }, () => random.normal());
  const alike = new Float32Array(rows * d).fill(2);
  const drawn = drawDirections(sizes, 0);
  for (const x of [full, alike, new Float32Array(rows * d).fill(Number.NaN)]) {
    const { directions, sizes: found } = await within('auto', x, { drawn });
    assert.deepEqual(found, {});
    assert.equal(directions.W_dec, drawn.W_dec);
  }
});

test('they are the same bytes for every number of threads', async () => {
  const x = rowsWithin({ rows, d, rank, seed: 5 });
  const one = await within('auto', x);
  for (const threads of [2, 3]) assert.deepEqual(await within('auto', x, { threads }), one);
});

test('input and target of a transcoder have separate directions', async () => {
  const [x, y] = [rowsWithin({ rows, d, rank, seed: 6 }), rowsWithin({ rows, d: 20, rank: 4, seed: 7 })];
  const drawn = drawDirections({ dIn: d, dOut: 20, dSae }, 0);
  const { directions, sizes: found } = await within('auto', x, { y, dOut: 20, drawn });
  assert.deepEqual(found, { input: rank, target: 4 });
  assert.ok(outside(rowsOf(directions.W_enc, d), axesOf(d, rank)) < 1e-3);
  assert.ok(outside(directions.W_dec, axesOf(20, 4)) < 1e-3);
});

test('directions of fewer activations than they are cannot be found', async () => {
  await refuses(() => within('8', rowsWithin({ rows: 8, d, rank, seed: 8 })), 'train/subspace');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Window } from '../../src/activations/store-writer.js';
import { activationDTypes } from '../../src/config/values.js';
import { chiSquare, chiSquareBound } from '../random/chi-square.js';
import { emptyManifest, filledWindow, randomRows, rowTexts } from './synthetic.js';

const shardsOf = (window: Window, rowsPerShard: number, seed: number, d = 3) =>
  [...window.shards(rowsPerShard, seed)].map((rows) => rowTexts(rows, d));

test('rows in order are those of every pass, one after the other', () => {
  for (const dtype of activationDTypes) {
    const passes = [randomRows(4, 3, dtype, 0), randomRows(7, 3, dtype, 10), randomRows(1, 3, dtype, 20)];
    const window = new Window(0, 3, dtype);
    for (const rows of passes) window.add(rows, new Float32Array(rows.token.length));
    assert.equal(window.rows, 12);
    assert.deepEqual(
      [...window.inOrder(5)].flatMap((rows) => rowTexts(rows, 3)),
      passes.flatMap((rows) => rowTexts(rows, 3)),
    );
    assert.equal([...window.inOrder(5)][2]!.activation.constructor, passes[0]!.activation.constructor);
  }
});

test('shards hold each row of the window exactly once, with all its columns', () => {
  const manifest = emptyManifest(0);
  for (const dtype of activationDTypes) {
    for (const rowsPerShard of [1, 5, 8, 40, 41]) {
      const window = filledWindow(2, 5, { ...manifest, dtype });
      const shards = shardsOf(window, rowsPerShard, 9);
      assert.deepEqual(shards.flat().sort(), [...window.inOrder(5)].flatMap((rows) => rowTexts(rows, 3)).sort());
    }
  }
});

test('every shard but the last is full', () => {
  const window = filledWindow(0, 5, emptyManifest(0));
  assert.equal(window.rows, 40);
  const sizes = (rowsPerShard: number) => shardsOf(window, rowsPerShard, 1).map((rows) => rows.length);
  assert.deepEqual(sizes(15), [15, 15, 10]);
  assert.deepEqual(sizes(20), [20, 20]);
  assert.deepEqual(sizes(1000), [40]);
  assert.deepEqual(shardsOf(new Window(0, 3, 'float32'), 15, 1), []);
});

test('the order is a function of the seed and the window, and differs between seeds and windows', () => {
  const manifest = emptyManifest(0);
  const order = (index: number, seed: number) => {
    // The same rows in every window, so that only the order can differ.
    const window = new Window(index, 3, 'float32');
    window.add(randomRows(40, 3, 'float32'), new Float32Array(40));
    return shardsOf(window, 15, seed).flat().join('|');
  };
  assert.equal(order(0, 1), order(0, 1));
  assert.notEqual(order(0, 1), order(0, 2));
  assert.notEqual(order(0, 1), order(1, 1));
  assert.notEqual(
    order(0, 1),
    [...filledWindow(0, 5, manifest).inOrder(40)].flatMap((rows) => rowTexts(rows, 3)).join('|'),
  );
});

test('the order does not depend on how rows came in passes or are cut into shards', () => {
  const rows = randomRows(40, 3, 'float32');
  const whole = new Window(0, 3, 'float32');
  whole.add(rows, new Float32Array(40));
  const parts = new Window(0, 3, 'float32');
  for (const [from, to] of [
    [0, 3],
    [3, 4],
    [4, 40],
  ] as const) {
    const part = {
      activation: rows.activation.slice(from * 3, to * 3),
      token: rows.token.slice(from, to),
      context: rows.context.slice(from, to),
      pos: rows.pos.slice(from, to),
    };
    parts.add(part, new Float32Array(to - from));
  }
  assert.deepEqual(shardsOf(parts, 15, 1), shardsOf(whole, 15, 1));
  assert.deepEqual(shardsOf(parts, 7, 1).flat(), shardsOf(whole, 15, 1).flat());
});

test('any row may end up in any shard', () => {
  // 8 rows into 4 shards of 2, 800 seeds: each of the 32 cells is expected 200 times. Sums of rows and of columns are
  // fixed, hence 7 · 3 degrees of freedom, and the factor 7/8 of drawing without replacement.
  const counts = new Uint32Array(32);
  for (let seed = 0; seed < 800; seed++) {
    const window = new Window(0, 1, 'float32');
    const rows = randomRows(8, 1, 'float32');
    rows.token.set([0, 1, 2, 3, 4, 5, 6, 7]);
    window.add(rows, new Float32Array(8));
    for (const [shard, { token }] of [...window.shards(2, seed)].entries())
      for (const row of token) counts[row * 4 + shard]!++;
  }
  assert.ok((chiSquare(counts) * 7) / 8 < chiSquareBound(21));
});

test('norms are summed over passes', () => {
  const window = new Window(0, 3, 'float32');
  window.add(randomRows(2, 3, 'float32'), Float32Array.of(1, 2.5));
  window.add(randomRows(1, 3, 'float32'), Float32Array.of(0.25));
  assert.equal(window.normSum, 3.75);
});

test('a restored window continues as if it had never been interrupted', () => {
  const manifest = emptyManifest(0);
  const undisturbed = filledWindow(1, 5, manifest);
  const interrupted = filledWindow(1, 3, manifest);
  const restored = new Window(1, 3, 'float32');
  restored.restore([...interrupted.inOrder(7)], interrupted.normSum);
  const later = filledWindow(1, 5, manifest, Window, 3);
  const [rows] = [...later.inOrder(1000)];
  restored.add(
    rows!,
    Float32Array.from(rows!.token, (token) => token / 7),
  );
  assert.equal(restored.rows, undisturbed.rows);
  assert.equal(restored.normSum, undisturbed.normSum);
  assert.deepEqual(shardsOf(restored, 15, 1), shardsOf(undisturbed, 15, 1));
});

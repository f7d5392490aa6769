import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rowBytes } from '../../src/activations/manifest.js';
import { newBatch, POOL_BYTES, Pool, poolRowsWithin } from '../../src/activations/pool.js';
import { numberedPieces, rowNumbers } from './synthetic.js';

const D = 3;
const SHAPE = { dIn: D, dtype: 'float32' } as const;

test('rows are dealt in the order given, across pieces, into any place of a batch', () => {
  const order = Uint32Array.of(4, 0, 8, 2, 7, 1, 3, 6, 5);
  for (const sizes of [[9], [1, 8], [4, 1, 4], [3, 0, 3, 3]]) {
    const pool = new Pool(numberedPieces(sizes, D), order);
    assert.equal(pool.size, 9);
    const batch = newBatch(6, SHAPE);
    batch.x.fill(-1);
    pool.deal(2, 5, batch, 1, SHAPE);
    assert.deepEqual(rowNumbers(batch.x, D), [-1, 8, 2, 7, 1, 3]);
  }
});

test('without an order, rows are dealt as they lie', () => {
  const pool = new Pool(numberedPieces([2, 5, 2], D));
  const batch = newBatch(9, SHAPE);
  pool.deal(0, 9, batch, 0, SHAPE);
  assert.deepEqual(rowNumbers(batch.x, D), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
});

test('a pool holds the requested rows as far as they fit, and at least one', () => {
  // 2 · 2048 bytes of activation and 12 of position.
  assert.equal(poolRowsWithin(1000, rowBytes({ d_in: 2048, dtype: 'float16' })), 1000);
  assert.equal(poolRowsWithin(2 ** 20, rowBytes({ d_in: 2048, dtype: 'float16' })), Math.floor(POOL_BYTES / 4108));
  assert.equal(poolRowsWithin(2 ** 20, rowBytes({ d_in: 2048, dtype: 'float32' })), Math.floor(POOL_BYTES / 8204));
  assert.equal(poolRowsWithin(5, rowBytes({ d_in: 2 ** 30, dtype: 'float32' })), 1);
});

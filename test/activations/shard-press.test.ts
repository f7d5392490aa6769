import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { encodeShard } from '../../src/activations/arrow-rows.js';
import { PressThreads, pressShard } from '../../src/activations/shard-press.js';
import { ActivationSums } from '../../src/activations/statistics.js';
import { randomRows } from './synthetic.js';

for (const dtype of ['float32', 'float16', 'bfloat16'] as const) {
  test(`${dtype}: a shard is the Arrow file in pieces, its hash, and the sums of its values`, async () => {
    // Not a multiple of the rows that are summed together.
    const [count, d] = [11, 6];
    const rows = randomRows(count, d, dtype);
    const { chunks, bytes, sha256, sums } = await pressShard(rows, d, dtype);
    const file = encodeShard(randomRows(count, d, dtype), d, dtype);
    assert.deepEqual(Buffer.concat(chunks), Buffer.from(file));
    assert.equal(bytes, file.byteLength);
    assert.equal(sha256, createHash('sha256').update(file).digest('hex'));
    const singly = new ActivationSums(d);
    for (let row = 0; row < count; row++) singly.add(rows.activation.subarray(row * d, (row + 1) * d), dtype);
    for (const name of ['sum', 'squares'] as const) {
      for (let i = 0; i < d; i++) {
        assert.ok(Math.abs(sums[name][i]! - singly[name][i]!) <= 1e-12 * Math.abs(singly[name][i]!), name);
      }
    }
    assert.deepEqual([sums.rows, sums.zeros, sums.norms], [count, 0, singly.norms]);
  });
}

test('threads encode the same shards as one thread, in the requested order', async () => {
  const press = new PressThreads(2);
  try {
    const sizes = [40, 1, 7, 0, 25];
    const asked = sizes.map((count) => press.press(randomRows(count, 3, 'float32'), 3, 'float32'));
    for (const [i, count] of sizes.entries()) {
      const here = await pressShard(randomRows(count, 3, 'float32'), 3, 'float32');
      const there = await asked[i]!;
      assert.equal(there.sha256, here.sha256);
      assert.deepEqual(Buffer.concat(there.chunks), Buffer.concat(here.chunks));
      assert.deepEqual(there.sums, here.sums);
    }
  } finally {
    await press.close();
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ActivationBatches } from '../../src/activations/batches.js';
import { Generator } from '../../src/random/generator.js';
import { chiSquare, chiSquareBound } from '../random/chi-square.js';
import { memoryStore, rowNumbers } from './synthetic.js';

/** Shards of uneven sizes, as windows end in smaller ones. */
const SIZES = [7, 7, 3, 7, 7, 5, 1, 7];
const ROWS = 44;
/** Pools of one shard, of two or three, and of the whole store. */
const POOLS = [1, 7, 15, 22, 1000];

const batchesOf = (seed: number, poolRows?: number, order: 'shuffled' | 'stored' = 'shuffled') =>
  new ActivationBatches(memoryStore(SIZES), order, seed, poolRows);
const deal = async (batches: ActivationBatches, size: number) => rowNumbers((await batches.next(size)).x);
const sorted = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b);
const allRows = Array.from({ length: ROWS }, (_, i) => i);

test('an epoch deals each row exactly once, shuffled or stored, whatever fits the pool', async () => {
  for (const order of ['shuffled', 'stored'] as const) {
    for (const pool of POOLS) {
      const batches = batchesOf(3, pool, order);
      for (let epoch = 0; epoch < 3; epoch++) assert.deepEqual(sorted(await deal(batches, ROWS)), allRows);
    }
  }
});

test('batches continue across pools and epochs', async () => {
  for (const pool of POOLS) {
    const whole = await deal(batchesOf(3, pool), 4 * ROWS);
    for (const size of [1, 5, 16, 44, 60]) {
      const batches = batchesOf(3, pool);
      const dealt: number[] = [];
      while (dealt.length + size <= 4 * ROWS) dealt.push(...(await deal(batches, size)));
      assert.deepEqual(dealt, whole.slice(0, dealt.length), `batches of ${size}, pool of ${pool}`);
    }
  }
});

test('stored order is the order of the manifest, epoch after epoch, whatever the seed', async () => {
  for (const pool of POOLS) {
    for (const seed of [0, 9])
      assert.deepEqual(await deal(batchesOf(seed, pool, 'stored'), 2 * ROWS), [...allRows, ...allRows]);
  }
});

test('the same seed deals the same order, another seed another one', async () => {
  for (const pool of POOLS) {
    assert.deepEqual(await deal(batchesOf(3, pool), 100), await deal(batchesOf(3, pool), 100));
    assert.notDeepEqual(await deal(batchesOf(3, pool), ROWS), await deal(batchesOf(4, pool), ROWS));
  }
});

test('each epoch has a different order, which is not that of the store', async () => {
  for (const pool of POOLS) {
    const batches = batchesOf(3, pool);
    const epochs = [await deal(batches, ROWS), await deal(batches, ROWS), await deal(batches, ROWS), allRows];
    assert.equal(new Set(epochs.map((epoch) => epoch.join())).size, 4);
  }
});

test('seeking reaches the state after that many rows, anywhere in the first epochs', async () => {
  for (const order of ['shuffled', 'stored'] as const) {
    for (const pool of POOLS) {
      const whole = await deal(batchesOf(5, pool, order), 3 * ROWS + 30);
      for (let rows = 0; rows <= 3 * ROWS; rows++) {
        const batches = batchesOf(5, pool, order);
        await batches.seek(rows);
        assert.deepEqual(
          await deal(batches, 20),
          whole.slice(rows, rows + 20),
          `${order}, pool of ${pool}, ${rows} rows`,
        );
      }
    }
  }
});

test('seeking works from any state, forwards and backwards', async () => {
  const random = new Generator(12);
  for (const pool of POOLS) {
    const whole = await deal(batchesOf(5, pool), 3 * ROWS + 30);
    const batches = batchesOf(5, pool);
    for (let i = 0; i < 30; i++) {
      const rows = random.below(3 * ROWS);
      await batches.seek(rows);
      assert.deepEqual(await deal(batches, 20), whole.slice(rows, rows + 20));
    }
  }
});

test('a pool that holds the whole store is loaded once for all epochs', async () => {
  const store = memoryStore(SIZES);
  const batches = new ActivationBatches(store, 'shuffled', 1, 1000);
  await batches.next(5 * ROWS);
  assert.deepEqual(sorted(store.reads), [0, 1, 2, 3, 4, 5, 6, 7]);
});

test('a smaller pool reads each shard once per epoch', async () => {
  const store = memoryStore(SIZES);
  const batches = new ActivationBatches(store, 'shuffled', 1, 15);
  await batches.next(ROWS);
  assert.deepEqual(sorted(store.reads), [0, 1, 2, 3, 4, 5, 6, 7]);
});

test('shards come in another order in each epoch', async () => {
  const store = memoryStore(SIZES);
  await new ActivationBatches(store, 'shuffled', 1, 1).next(4 * ROWS);
  const epochs = [0, 8, 16, 24].map((from) => store.reads.slice(from, from + 8).join());
  assert.equal(new Set(epochs).size, 4);
});

test('shards are pooled in a random order', async () => {
  const orders = new Set<string>();
  for (let seed = 0; seed < 20; seed++) {
    const store = memoryStore(SIZES);
    await new ActivationBatches(store, 'shuffled', seed, 1).next(ROWS);
    orders.add(store.reads.join());
  }
  // Of 8! = 40320 orders, 20 draws coincide with probability below 0.5 %.
  assert.equal(orders.size, 20);
});

test('a batch from a pool that holds the store is a random sample of all of it', async () => {
  // 16 shards of 32 rows, batches of 64, 40 seeds. The counts of one batch are those of drawing 64 of 512 rows without
  // replacement: Pearson's statistic times (512 − 1)/(512 − 64) has about 15 degrees of freedom, the sum over seeds 600.
  let statistic = 0;
  for (let seed = 0; seed < 40; seed++) {
    const batches = new ActivationBatches(memoryStore(Array(16).fill(32)), 'shuffled', seed);
    const counts = new Uint32Array(16);
    for (const row of await deal(batches, 64)) counts[row >> 5]!++;
    statistic += (chiSquare(counts) * 511) / 448;
  }
  assert.ok(statistic < chiSquareBound(600));
  // Nor is it too even, as if shards took turns: 600 − 4.753 √1200 is as unlikely on the other side.
  assert.ok(statistic > 600 - 4.753 * Math.sqrt(1200));
});

test('a pool of several shards takes them from all over the store and mixes them', async () => {
  for (let seed = 0; seed < 20; seed++) {
    // 8 of 32 shards are in the pool at once.
    const batches = new ActivationBatches(memoryStore(Array(32).fill(16)), 'shuffled', seed, 128);
    const shards = (await deal(batches, 64)).map((row) => row >> 4);
    // Half of the pool leaves out a given one of its 8 shards with probability below 2⁻¹⁶.
    assert.equal(new Set(shards).size, 8);
    // 8 random shards come from two of the 8 quarters-of-four or fewer in 28 of C(32, 8) = 10 518 300 cases.
    assert.ok(new Set(shards.map((shard) => shard >> 2)).size >= 3);
    // Neighbours in the batch are of the same shard in about 63 · 15/127 = 7.4 cases; 4 in 5 would be without mixing.
    const same = shards.filter((shard, i) => i > 0 && shards[i - 1] === shard).length;
    assert.ok(same < 25, `${same} neighbours of the same shard`);
  }
});

test('batches share no memory', async () => {
  const batches = batchesOf(1);
  const [{ x: first }, { x: second }] = [await batches.next(4), await batches.next(4)];
  const before = [...first];
  second.fill(-1);
  assert.deepEqual([...first], before);
  await batches.next(4);
  assert.ok(second.every((value) => value === -1));
});

test('16-bit floats are dealt as their bits, float32 as it is', async () => {
  const first = async (dtype: 'float16' | 'bfloat16' | 'float32') =>
    (await new ActivationBatches(memoryStore([3], dtype), 'stored', 0).next(3)).x;
  assert.deepEqual(await first('float16'), Uint16Array.of(0, 0, 1, 0, 2, 0));
  assert.deepEqual(await first('float32'), Float32Array.of(0, 0, 1, 0, 2, 0));
  assert.deepEqual(await first('bfloat16'), Uint16Array.of(0, 0, 1, 0, 2, 0));
});

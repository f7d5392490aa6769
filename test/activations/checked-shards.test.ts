import assert from 'node:assert/strict';
import { readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ActivationBatches } from '../../src/activations/batches.js';
import { CheckedShards, checkingThreads } from '../../src/activations/checked-shards.js';
import type { Manifest } from '../../src/activations/manifest.js';
import { buffersOf } from '../../src/activations/rows.js';
import { loadShard } from '../../src/activations/shard-file.js';
import { ShardList } from '../../src/activations/shard-list.js';
import { openStore } from '../../src/activations/store.js';
import { openStoreSource, storeMemory } from '../../src/activations/store-source.js';
import { StoreWriter, sha256 } from '../../src/activations/store-writer.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { emptyManifest, filledWindow, memoryStore, rowNumbers, rowTexts } from './synthetic.js';

/** Four shards of 10 and 4 rows, twice. */
async function written(t: TestContext): Promise<{ directory: string; manifest: Manifest }> {
  const directory = temporaryDirectory(t);
  const manifest = emptyManifest(48);
  const writer = new StoreWriter(directory, manifest);
  for (const index of [0, 1]) await writer.writeWindow(filledWindow(index, 3, manifest));
  return { directory, manifest };
}

/** Changes a byte of a shard's activations; the file's times become those that it had. */
function changed(path: string, keepTimes = false): void {
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(path, bytes);
  if (keepTimes) utimesSync(path, 1, 1);
}

for (const threads of [0, 2]) {
  test(`shards read next to one another are those of the store (${threads} threads)`, async (t) => {
    const { directory } = await written(t);
    const store = await openStore(directory);
    const shards = new CheckedShards(store, threads);
    t.after(() => shards.close());
    const order = [3, 0, 5, 1, 2, 4, 0, 3];
    const read = await Promise.all(order.map((i) => shards.read(i)));
    for (const [k, i] of order.entries()) {
      assert.deepEqual(rowTexts(read[k]!, 3), rowTexts(await store.readShard(i), 3));
    }
  });

  test(`a shard that is touched after it was checked is checked again (${threads} threads)`, async (t) => {
    const { directory, manifest } = await written(t);
    const shards = new CheckedShards(await openStore(directory), threads);
    t.after(() => shards.close());
    const path = join(directory, manifest.shards[1]!.file);
    utimesSync(path, 1, 1);
    await shards.read(1);
    changed(path, true);
    await refuses(() => shards.read(1), 'activations/shard-changed', path);
    assert.equal((await shards.read(2)).token.length, manifest.shards[2]!.rows);
    // What was put back is taken again.
    changed(path);
    assert.equal((await shards.read(1)).token.length, 10);
  });

  test(`a value that is not finite is refused, also the last one (${threads} threads)`, async (t) => {
    const { directory } = await written(t);
    const store = await openStore(directory);
    const { bytes, rows } = await loadShard({ directory, ...store.manifest }, store.shards.at(1));
    rows.activation.fill(Number.POSITIVE_INFINITY, -1);
    writeFileSync(join(directory, store.shards.at(1).file), bytes);
    const listed = [...store.shards].map((shard, i) => (i === 1 ? { ...shard, sha256: sha256(bytes) } : shard));
    const shards = new CheckedShards({ ...store, shards: new ShardList(listed) }, threads);
    t.after(() => shards.close());
    await refuses(() => shards.read(1), 'activations/not-finite', listed[1]!.file);
    assert.equal((await shards.read(0)).token.length, 10);
  });

  test(`memory of shards that are not needed is written to (${threads} threads)`, async (t) => {
    const { directory } = await written(t);
    const shards = new CheckedShards(await openStore(directory), threads);
    t.after(() => shards.close());
    const [first, second] = [await shards.read(0, []), await shards.read(1)];
    const wanted = rowTexts(second, 3);
    const small = [new ArrayBuffer(7)];
    const spare = [...small, ...buffersOf(first)];
    assert.deepEqual(rowTexts(await shards.read(1, spare), 3), wanted);
    assert.deepEqual(spare, small);
    // Both have as many rows, so the first now reads as the second.
    assert.deepEqual(rowTexts(first, 3), wanted);
  });
}

test('what was checked is not hashed again', async (t) => {
  const store = await openStore((await written(t)).directory);
  const other = { ...store.shards.at(0), sha256: '0'.repeat(64) };
  let [first] = [store.shards.at(0)];
  const shards = Object.assign(new ShardList([...store.shards]), { at: () => first });
  const reading = new CheckedShards({ ...store, shards }, 0);
  await reading.read(0);
  first = other;
  assert.equal((await reading.read(0)).token.length, 10);
  await refuses(() => new CheckedShards({ ...store, shards }, 0).read(0), 'activations/shard-changed');
});

test('a source checks with threads where there is much to read', () => {
  assert.equal(checkingThreads(2 ** 20, 10, 8), 0);
  assert.equal(checkingThreads(2 ** 32, 10, 8), 4);
  assert.equal(checkingThreads(2 ** 32, 3, 8), 3);
  assert.equal(checkingThreads(2 ** 32, 10, 1), 1);
});

/** Shards of uneven sizes. */
const SIZES = [7, 7, 3, 7, 7, 5, 1, 7];

test('pools that are read ahead are dealt in the same order', async () => {
  for (const order of ['shuffled', 'stored'] as const) {
    for (const pool of [1, 7, 15, 22, 1000]) {
      const deal = async (ahead: boolean, from: number) => {
        const batches = new ActivationBatches(memoryStore(SIZES), order, 3, pool, ahead);
        await batches.seek(from);
        const rows: number[] = [];
        for (let k = 0; k < 12; k++) rows.push(...rowNumbers((await batches.next(9)).x));
        return rows;
      };
      for (const from of [0, 20, 90]) assert.deepEqual(await deal(true, from), await deal(false, from));
    }
  }
});

test('the next pool is read while one is dealt, and no further', async () => {
  const store = memoryStore(Array(6).fill(4));
  const batches = new ActivationBatches(store, 'stored', 0, 8, true);
  await batches.next(1);
  await new Promise(setImmediate);
  assert.deepEqual(store.reads, [0, 1, 2, 3]);
  await batches.next(7);
  assert.deepEqual(store.reads, [0, 1, 2, 3]);
  await batches.next(1);
  await new Promise(setImmediate);
  assert.deepEqual(store.reads, [0, 1, 2, 3, 4, 5]);
});

test('a shard that cannot be read fails the batch that needs it, not the one before', async () => {
  const store = memoryStore(Array(4).fill(4));
  const readShard = (i: number) => (i === 2 ? Promise.reject(new Error('gone')) : store.readShard(i));
  const batches = new ActivationBatches({ ...store, readShard }, 'stored', 0, 8, true);
  await batches.next(8);
  await new Promise(setImmediate);
  await assert.rejects(batches.next(1), /gone/);
});

test('two pools are held where they are a quarter of the memory, or less', () => {
  const bytes = 1000;
  const pool = 1000 * (bytes + 8);
  const held = (limit: number, rows = 5000) => storeMemory(bytes, rows, 100, 1000, limit);
  assert.deepEqual(held(8 * pool), { held: 2 * pool + 100 * bytes, pieceRows: 100, ahead: true });
  assert.deepEqual(held(8 * pool - 1), { held: pool + 100 * bytes, pieceRows: 100, ahead: false });
  assert.equal(held(8 * pool, 1000).ahead, false);
});

test('a source deals a store as it is, epoch after epoch', async (t) => {
  const { directory } = await written(t);
  for (const threads of [undefined, 2]) {
    const source = await openStoreSource({ activations: directory, poolRows: 14, threads });
    t.after(() => source.close());
    const [ours, plain] = [
      source.batches('shuffled', 4),
      new ActivationBatches(await openStore(directory), 'shuffled', 4, 14),
    ];
    for (let k = 0; k < 12; k++) assert.deepEqual((await ours.next(11)).x, (await plain.next(11)).x);
  }
});

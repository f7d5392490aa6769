import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ListedShard, ShardList } from '../../src/activations/shard-list.js';

test('a list gives back the shards that it was made of', () => {
  const hash = (i: number) => i.toString(16).padStart(2, '0').repeat(32);
  const shards: ListedShard[] = [
    { file: 'shard-00000.arrow', rows: 65_536, bytes: 2 ** 33, sha256: hash(0), window: 0 },
    { file: 'part-1-of-2/shard-00000.arrow', rows: 7, sha256: hash(255), window: 2 ** 40 },
    { file: 'ü/shard-00001.arrow', rows: 2 ** 40, bytes: 1, sha256: hash(16), window: 3 },
  ];
  const list = new ShardList(shards);
  assert.deepEqual([...list], shards);
  assert.deepEqual(list.at(1), shards[1]);
  assert.deepEqual([list.length, list.largest], [3, 2 ** 40]);
  assert.deepEqual([list.rowsOf(0), list.bytesOf(0), list.bytesOf(1)], [65_536, 2 ** 33, undefined]);
  assert.deepEqual([...new ShardList([])], []);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesToCome } from '../../src/harvest/store-plan.js';
import { emptyManifest } from '../activations/synthetic.js';

test('what is on disk needs no room again, shards of a window that is not done included', () => {
  const shard = (rows: number, window: number) => ({ file: 'a.arrow', rows, sha256: '', window });
  // d_in 3 in float32, and 12 bytes of token, context and pos.
  assert.equal(bytesToCome(emptyManifest(1000)), 1000 * 24);
  const done = { shards: [shard(300, 0), shard(100, 0), shard(250, 1)], rows: 400 };
  assert.equal(bytesToCome(emptyManifest(1000, done)), 350 * 24);
});

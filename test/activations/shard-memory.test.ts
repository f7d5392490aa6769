import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { encodeShard } from '../../src/activations/arrow-rows.js';
import { ShardMemory } from '../../src/activations/shard-memory.js';
import { randomRows } from './synthetic.js';

test('rows in memory that held larger ones before are written without the rest', () => {
  const memory = new ShardMemory(1);
  for (const dtype of ['float32', 'bfloat16'] as const) {
    for (const [count, d] of [
      [9, 5],
      [3, 7],
      [0, 4],
    ] as const) {
      const wanted = randomRows(count, d, dtype);
      const rows = memory.rows(count, d, dtype);
      for (const name of ['activation', 'token', 'context', 'pos'] as const) rows[name].set(wanted[name] as never);
      assert.deepEqual(Buffer.from(encodeShard(rows, d, dtype)), Buffer.from(encodeShard(wanted, d, dtype)));
      memory.end(rows);
    }
  }
});

test('as many shards are cut as there is memory for, in the order in which they were asked for', async () => {
  const memory = new ShardMemory(2);
  const cut: number[] = [];
  const shards = [0, 1, 2, 3].map((i) =>
    memory.inTurn(() => {
      cut.push(i);
      return memory.rows(4 - i, 2, 'float32');
    }),
  );
  const [first, second] = [await shards[0], await shards[1]];
  await setImmediate();
  assert.deepEqual(cut, [0, 1]);
  memory.end(second);
  const third = await shards[2];
  assert.deepEqual(cut, [0, 1, 2]);
  assert.equal(third!.activation.buffer, second!.activation.buffer);
  // Without its memory, which went with whatever failed.
  memory.end();
  assert.notEqual((await shards[3])!.activation.buffer, first!.activation.buffer);
});

test('a turn in which nothing was cut is another one’s', async () => {
  const memory = new ShardMemory(1);
  assert.equal(await memory.inTurn(() => undefined), undefined);
  const fails = () => {
    throw new Error('no memory');
  };
  await assert.rejects(memory.inTurn(fails), /no memory/);
  assert.equal((await memory.inTurn(() => memory.rows(1, 1, 'float32')))!.token.length, 1);
});

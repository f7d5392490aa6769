import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readManifest } from '../../src/activations/manifest.js';
import { PressThreads } from '../../src/activations/shard-press.js';
import { Interrupted, Refusal } from '../../src/errors/refusal.js';
import { openForwardPass } from '../../src/harvest/forward-pass.js';
import { PassThread } from '../../src/harvest/pass-thread.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { findHook } from '../../src/lm/hooks.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { harvestTokens } from './token-harvest.js';
import { ROWS } from './token-pass.js';

const BOS = 2;
const CONTEXT = 16;
const contextOf = (index: number) => ({
  index,
  tokens: Int32Array.from({ length: CONTEXT }, (_, t) => (t === 0 ? BOS : 5 + ((7 * t + 31 * index) % 200))),
  documents: new Uint32Array(CONTEXT),
});

async function opened(dtype: 'bfloat16' | 'float16' | 'float32') {
  const checkpoint = await openCheckpoint('assets/tiny-gemma');
  const hooks = ['blocks.1.hook_resid_post', 'blocks.2.attn.hook_z'].map((name) => findHook(name, checkpoint.config));
  const config = { device: 'cpu', precision: 'float32', threads: 1, dtype } as const;
  return [checkpoint, hooks, CONTEXT, config] as const;
}

test('passes requested ahead in a thread equal passes in this one; the rest is dropped at the end', async () => {
  const args = await opened('bfloat16');
  const [here, thread] = [await openForwardPass(...args), await PassThread.open(...args)];
  try {
    assert.equal(thread.contexts, here.contexts);
    const groups = [[0, 1], [2], [3, 4, 5]].map((group) => group.map(contextOf));
    const limits = [20, 1000, 1000];
    const asked = groups.map((group, i) => thread.run(group, BOS, limits[i]!));
    for (const [i, group] of groups.entries()) {
      assert.deepEqual(await asked[i], await here.run(group, BOS, limits[i]!));
    }
    // Freed memory is reused, unless the thread does not share it.
    const memory = (await asked[2])!.rows[0]!.activation.buffer;
    thread.reuse(0, [new ArrayBuffer(memory.byteLength), memory]);
    const again = await thread.run(groups[2]!, BOS, 1000);
    assert.deepEqual(again, await here.run(groups[2]!, BOS, 1000));
    assert.equal(again.rows[0]!.activation.buffer, memory);
    // The smallest piece that is large enough, also of one that is much larger; a new one where all are too small.
    const other = new SharedArrayBuffer(2 * memory.byteLength);
    thread.reuse(0, [other, memory]);
    const few = () => thread.run(groups[1]!, BOS, 1000);
    const [one, two, three] = [await few(), await few(), await few()];
    assert.deepEqual([one, two, three], Array(3).fill(await here.run(groups[1]!, BOS, 1000)));
    assert.equal(one.rows[0]!.activation.buffer, memory);
    assert.equal(two.rows[0]!.activation.buffer, other);
    const small = three.rows[0]!.activation.buffer;
    thread.reuse(0, [small]);
    assert.notEqual((await thread.run(groups[2]!, BOS, 1000)).rows[0]!.activation.buffer, small);
    // Nothing but BOS: no row.
    const nothing = [{ ...contextOf(9), tokens: new Int32Array(CONTEXT).fill(BOS) }];
    assert.equal((await thread.run(nothing, BOS, 5)).count, 0);
    const unwanted = Array.from({ length: 20 }, (_, i) => thread.run([contextOf(i)], BOS, 100));
    await thread.release();
    const ends = await Promise.allSettled(unwanted);
    assert.ok(ends.some(({ status }) => status === 'rejected'));
  } finally {
    await here.release();
  }
});

test('a refusal in the thread is a refusal here, and later passes still come', async () => {
  const thread = await PassThread.open(...(await opened('float32')));
  const outside = { ...contextOf(0), tokens: new Int32Array(CONTEXT).fill(10_000_000) };
  const [bad, good] = [thread.run([outside], BOS, 100), thread.run([contextOf(1)], BOS, 100)];
  await assert.rejects(bad, (error) => error instanceof Refusal && error.code === 'corpus/token-outside-vocabulary');
  assert.equal((await good).count, CONTEXT - 1);
  await thread.release();
});

const TOKENS = 27 * ROWS - 1;

function directories(t: TestContext, name: string): string[] {
  const root = temporaryDirectory(t);
  return ['a', 'b'].map((store) => {
    const path = join(root, name, store);
    mkdirSync(path, { recursive: true });
    return path;
  });
}

test('windows made ahead, and shards encoded in threads, have the same bytes, also after a stop', async (t) => {
  const plain = directories(t, 'plain');
  await harvestTokens({ tokens: TOKENS, out: plain, atOnce: 2 });
  const press = new PressThreads(2);
  try {
    const ahead = directories(t, 'ahead');
    await harvestTokens({ tokens: TOKENS, out: ahead, atOnce: 2, press });
    const stopped = directories(t, 'stopped');
    const first = harvestTokens({ tokens: TOKENS, out: stopped, atOnce: 2, stopAt: 14 * ROWS, press });
    await assert.rejects(first, Interrupted);
    await harvestTokens({ tokens: TOKENS, out: stopped, atOnce: 2, resume: true, press });
    for (const [i, directory] of plain.entries()) {
      assert.deepEqual(filesBelow(ahead[i]!), filesBelow(directory));
      assert.deepEqual(filesBelow(stopped[i]!), filesBelow(directory));
    }
  } finally {
    await press.close();
  }
});

test('where one store cannot be written, the others keep their shards, and --resume gives the same bytes', async (t) => {
  const plain = directories(t, 'plain');
  await harvestTokens({ tokens: TOKENS, out: plain, atOnce: 2 });
  const press = new PressThreads(2);
  try {
    const broken = directories(t, 'broken');
    const failing = { tokens: TOKENS, out: broken, atOnce: 2, press, unwritable: 'shard-00006.arrow' };
    await assert.rejects(harvestTokens(failing), Refusal);
    const listed = await Promise.all(broken.map(async (directory) => (await readManifest(directory)).shards.length));
    assert.equal(listed[0], 6);
    assert.ok(listed[1]! > 6, `${listed[1]} shards`);
    await harvestTokens({ tokens: TOKENS, out: broken, atOnce: 2, resume: true, press });
    for (const [i, directory] of plain.entries()) assert.deepEqual(filesBelow(broken[i]!), filesBelow(directory));
  } finally {
    await press.close();
  }
});

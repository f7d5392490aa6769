import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readManifest } from '../../src/activations/manifest.js';
import { Interrupted, Refusal } from '../../src/errors/refusal.js';
import { refuses } from '../config/refuses.js';
import { harvestTokens, textOf } from '../harvest/token-harvest.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const root = temporaryDirectory();
let counter = 0;
const newDirectory = () => join(root, String(counter++));

/** A window has 30 rows in 4 shards: 2 whole ones, then one of 15 rows in 2 shards. */
const TOKENS = 75;
const shardFile = (shard: number) => `shard-${String(shard).padStart(5, '0')}.arrow`;

/** What is left of a harvest that cannot write one of its files: what was listed before stays. */
async function failedAt(unwritable: string): Promise<string> {
  const out = newDirectory();
  await assert.rejects(harvestTokens({ tokens: TOKENS, out, unwritable }), Refusal);
  return out;
}

async function undisturbed(tokens: number): Promise<Map<string, Buffer>> {
  const out = newDirectory();
  await harvestTokens({ tokens, out });
  return filesBelow(out);
}

test(
  'resumed with other --tokens, a store that failed within a window equals that of an undisturbed harvest',
  onDemand,
  async () => {
    // In the last window, after it, and in one that is full with any of these numbers.
    for (const file of [shardFile(9), 'contexts-00002.arrow', shardFile(6)]) {
      for (const tokens of [TOKENS, 60, 61, 68, 76, 90, 120]) {
        const out = await failedAt(file);
        assert.ok((await readManifest(out)).pending, 'shards of an unfinished window are listed');
        await harvestTokens({ tokens, out, resume: true });
        assert.deepEqual(filesBelow(out), await undisturbed(tokens), `${file}, then ${tokens}`);
      }
    }
  },
);

test('shards that hold what would be written are not written again', async () => {
  const out = await failedAt(shardFile(9));
  const { shards } = await readManifest(out);
  const before = filesBelow(out);
  // Fails again before anything new is written.
  await assert.rejects(harvestTokens({ tokens: TOKENS, out, resume: true, unwritable: shardFile(9) }), Refusal);
  assert.deepEqual((await readManifest(out)).shards, shards);
  assert.deepEqual(filesBelow(out), before);
});

test('--tokens changed again and again between failures ends in the rows of the last', async () => {
  const out = await failedAt(shardFile(9));
  for (const [tokens, unwritable] of [
    [62, 'contexts-00002.arrow'],
    [89, shardFile(10)],
    [TOKENS, 'contexts-00002.arrow'],
  ] as const) {
    await assert.rejects(harvestTokens({ tokens, out, resume: true, unwritable }), Refusal);
  }
  await harvestTokens({ tokens: 70, out, resume: true });
  assert.deepEqual(filesBelow(out), await undisturbed(70));
});

test('fewer --tokens than are kept are refused with the number that is kept', async () => {
  const out = newDirectory();
  await assert.rejects(harvestTokens({ tokens: TOKENS, out, atOnce: 1, stopAt: 39 }), Interrupted);
  await refuses(
    () => harvestTokens({ tokens: 38, out, resume: true }),
    'harvest/fewer-tokens',
    'contains 39 rows',
    '--tokens 39',
  );
  await harvestTokens({ tokens: 39, out, resume: true, atOnce: 1 });
  assert.deepEqual(filesBelow(out), await undisturbed(39));
  await refuses(
    () => harvestTokens({ tokens: 38, out, resume: true }),
    'harvest/fewer-tokens',
    'complete with 39 rows',
  );
});

test('another text is refused however much of the first is stored, and nothing of it is written', async () => {
  const stopped = newDirectory();
  await assert.rejects(harvestTokens({ tokens: TOKENS, out: stopped, atOnce: 1, stopAt: 39 }), Interrupted);
  for (const [out, contexts] of [
    [await failedAt(shardFile(1)), 10],
    [await failedAt('contexts-00000.arrow'), 10],
    [await failedAt(shardFile(5)), 20],
    [await failedAt(shardFile(9)), 25],
    [stopped, 13],
  ] as const) {
    const before = filesBelow(out);
    for (const tokens of [TOKENS, 90, 60]) {
      for (const other of [0, contexts - 1]) {
        const resumed = () => harvestTokens({ tokens, out, resume: true, text: textOf(other) });
        await refuses(resumed, 'harvest/other-text', 'text');
        assert.deepEqual(filesBelow(out), before);
      }
    }
    // Text that has not been read yet may be another.
    const text = () => textOf(contexts);
    await harvestTokens({ tokens: TOKENS, out, resume: true, text: text() });
    const whole = newDirectory();
    await harvestTokens({ tokens: TOKENS, out: whole, text: text() });
    assert.deepEqual(filesBelow(out), filesBelow(whole));
  }
});

test('another text is refused next to a store that is ahead', async () => {
  const ahead = newDirectory();
  await harvestTokens({ tokens: TOKENS, out: ahead });
  for (const other of [0, 9, 10, 24]) {
    const behind = newDirectory();
    const out = [ahead, behind];
    await refuses(
      () => harvestTokens({ tokens: TOKENS, out, resume: true, text: textOf(other) }),
      'harvest/other-text',
      'text',
    );
    const { shards } = await readManifest(behind);
    assert.ok(
      shards.every(({ window }) => window < Math.floor(other / 10)),
      'no shard of a window that differs',
    );
  }
});

test('what a killed --overwrite left without a manifest is removed', async () => {
  const out = newDirectory();
  await harvestTokens({ tokens: TOKENS, out });
  rmSync(join(out, 'manifest.json'));
  writeFileSync(join(out, 'partial-00000.arrow'), '');
  writeFileSync(join(out, 'notes.txt'), 'mine');
  await harvestTokens({ tokens: 30, out, resume: true });
  const { 'notes.txt': notes, ...files } = Object.fromEntries(filesBelow(out));
  assert.equal(notes!.toString(), 'mine');
  assert.deepEqual(files, Object.fromEntries(await undisturbed(30)));
});

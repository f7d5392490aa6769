import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { partName } from '../../src/activations/find-stores.js';
import { ActivationsStore, bundled, harvestActivations } from '../../src/library/index.js';
import { harvestTokens } from '../harvest/token-harvest.js';
import { temporaryDirectory } from '../temporary.js';

test('a store whose parts lie in several directories deals their rows', async (t) => {
  const root = temporaryDirectory(t);
  for (const index of [0, 1]) {
    const out = join(root, `disk-${index}`, 'acts', partName({ index, of: 2 }));
    await harvestTokens({ tokens: 100, out, part: { index, of: 2 } });
  }
  await harvestTokens({ tokens: 100, out: join(root, 'whole') });
  const rowsOf = async (named: string) => {
    const rows: number[] = [];
    for await (const { data } of (await ActivationsStore.open(named)).batches({ batchSize: 30, seed: 1 })) {
      rows.push(...data);
    }
    return rows;
  };
  assert.deepEqual(await rowsOf(join(root, 'disk-*', 'acts')), await rowsOf(join(root, 'whole')));
});

test('a part that is harvested is not opened alone; together they are', async (t) => {
  const out = temporaryDirectory(t);
  const hook = 'blocks.0.hook_resid_pre';
  const text = { model: bundled.model, corpus: bundled.validationText, context: 64, batch: 2, windowRows: 126 };
  for (const shard of ['0/2', '1/2']) {
    assert.deepEqual(await harvestActivations({ ...text, hook, tokens: 300, threads: 1, out, shard }), []);
  }
  assert.equal((await ActivationsStore.open(out)).rows, 300);
});

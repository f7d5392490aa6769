import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { before, test } from 'node:test';
import { storeStatistics } from '../../src/activations/statistics.js';
import { openStore } from '../../src/activations/store.js';
import { checkMuch } from '../../src/publish/push.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { harvestTokens } from '../harvest/token-harvest.js';
import { MODEL } from '../hub/fake-hub.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';
import { frontMatter } from './cards.js';
import { writableHub } from './pushed.js';

const root = temporaryDirectory();
const made = { store: '' };
before(async () => {
  made.store = await tinyActivations(root);
});

test('a store arrives whole as a data set with its card, and is a store again', async (t) => {
  const { hub, pushed } = await writableHub(t);
  hub.kind = 'datasets';
  const store = join(temporaryDirectory(t), 'store');
  cpSync(made.store, store, { recursive: true });
  const manifest = join(store, 'manifest.json');
  const elsewhere = '/home/somebody/texts/corpus.jsonl (1) + data/more.jsonl (3) + /home/somebody/b.txt (1)';
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace(/"corpus": "[^"]*"/, `"corpus": "${elsewhere}"`));
  writeFileSync(join(store, 'notes.txt'), 'private');
  const { out } = await pushed(store, `${MODEL}/layer_1`, { license: 'cc-by-4.0' });
  assert.ok(out.includes('/datasets/google/tiny/tree/main/layer_1') && !out.includes('notes.txt'));

  const arrived = temporaryDirectory(t);
  for (const [name, bytes] of hub.files)
    if (name.startsWith('layer_1/')) writeFileSync(join(arrived, name.slice('layer_1/'.length)), bytes);
  const [there, here] = [await openStore(arrived), await openStore(made.store)];
  assert.equal(there.manifest.corpus, 'corpus.jsonl (1) + data/more.jsonl (3) + b.txt (1)');
  assert.deepEqual({ ...there.manifest, corpus: '' }, { ...here.manifest, corpus: '' });
  assert.deepEqual(await there.readShard(1), await here.readShard(1));
  assert.ok(!hub.files.has('layer_1/notes.txt'));
  const card = String(hub.files.get('README.md'));
  assert.ok(!card.includes('somebody') && card.includes('4,000 rows'));
  assert.ok(card.includes('data_files=shards') && card.includes('shards = "layer_1/shard-*.arrow"'));
  const { license, configs } = frontMatter(card);
  assert.deepEqual(
    [license, configs],
    ['cc-by-4.0', [{ config_name: 'default', data_files: 'layer_1/shard-*.arrow' }]],
  );
});

test('all parts of a harvest arrive in their directories, and are one store again', async (t) => {
  const { hub, pushed } = await writableHub(t);
  hub.kind = 'datasets';
  const parts = join(temporaryDirectory(t), 'parts');
  for (const index of [0, 1]) {
    await harvestTokens({ tokens: 90, out: join(parts, `part-${index}-of-2`), part: { index, of: 2 } });
  }
  await pushed(parts, MODEL);
  const arrived = temporaryDirectory(t);
  for (const [name, bytes] of hub.files) {
    mkdirSync(dirname(join(arrived, name)), { recursive: true });
    writeFileSync(join(arrived, name), bytes);
  }
  const [there, here] = [await openStore(arrived), await openStore(parts)];
  assert.deepEqual(there.manifest, here.manifest);
  assert.deepEqual(await storeStatistics(there.parts), await storeStatistics(here.parts));
  assert.ok(String(hub.files.get('README.md')).includes('shards = "*/shard-*.arrow"'));
});

test('a store that was changed, and flags for SAEs, are refused before any request', async (t) => {
  const { hub, pushed } = await writableHub(t);
  const store = join(temporaryDirectory(t), 'store');
  cpSync(made.store, store, { recursive: true });
  await refusesUsage(() => pushed(store, MODEL, { as: 'sparsify' }), 'config/wrong-together', '--as');
  const shard = join(store, 'shard-00001.arrow');
  const bytes = readFileSync(shard);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(shard, bytes);
  await refuses(() => pushed(store), 'activations/shard-changed', 'shard-00001.arrow');
  assert.equal(hub.seen.length, 0);
});

test('more than a gigabyte needs --yes', async () => {
  const may = (yes: boolean, bytes: number) => () => checkMuch({ yes }, bytes);
  await refusesUsage(may(false, 1.1e9), 'publish/large', '--yes');
  may(true, 1.1e9)();
  may(false, 0.9e9)();
});

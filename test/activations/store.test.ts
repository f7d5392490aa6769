import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { encodeShard } from '../../src/activations/arrow-rows.js';
import { type ActivationDType, type Manifest, writeManifest } from '../../src/activations/manifest.js';
import { openStore } from '../../src/activations/store.js';
import { openStoreSource } from '../../src/activations/store-source.js';
import { StoreWriter, type Window } from '../../src/activations/store-writer.js';
import { activationDTypes } from '../../src/config/values.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { emptyManifest, filledWindow, randomRows, rowTexts } from './synthetic.js';

/** A complete store of two windows, 24 and 16 rows, in shards of 10. */
async function written(
  t: TestContext,
  dtype: ActivationDType = 'float32',
): Promise<{ directory: string; manifest: Manifest }> {
  const directory = temporaryDirectory(t);
  const manifest = emptyManifest(40, { dtype });
  const writer = new StoreWriter(directory, manifest);
  await writer.writeWindow(filledWindow(0, 3, manifest));
  await writer.writeWindow(filledWindow(1, 2, manifest));
  return { directory, manifest };
}

test('a store written is read back: each row once, window by window', async (t) => {
  for (const dtype of activationDTypes) {
    const { directory, manifest } = await written(t, dtype);
    const store = await openStore(directory);
    assert.equal(store.directory, directory);
    const { shards, journal: _, ...rest } = manifest;
    assert.deepEqual(store.manifest, rest);
    assert.deepEqual([...store.shards], shards);
    assert.deepEqual(
      Array.from(store.shards, ({ rows }) => rows),
      [10, 10, 4, 10, 6],
    );
    const rows: string[] = [];
    for (let i = 0; i < store.shards.length; i++) rows.push(...rowTexts(await store.readShard(i), 3));
    const [first, second] = [filledWindow(0, 3, manifest), filledWindow(1, 2, manifest)];
    const inOrder = (window: Window) => [...window.inOrder(9)].flatMap((piece) => rowTexts(piece, 3));
    assert.deepEqual(rows.slice(0, 24).sort(), inOrder(first).sort());
    assert.deepEqual(rows.slice(24).sort(), inOrder(second).sort());
  }
});

test('a store that is not complete is refused with how far it got', async (t) => {
  const directory = temporaryDirectory(t);
  const manifest = emptyManifest(40);
  const writer = new StoreWriter(directory, manifest);
  await writer.writeWindow(filledWindow(0, 3, manifest));
  await refuses(() => openStore(directory), 'activations/incomplete', directory, '24 of 40 rows', '--resume');
});

test('a store is found in the directory that holds it alone; where there are several, all are named', async (t) => {
  const out = temporaryDirectory(t);
  const { directory } = await written(t);
  cpSync(directory, join(out, 'blocks.1.hook_mlp_out'), { recursive: true });
  mkdirSync(join(out, 'notes'));
  writeFileSync(join(out, 'README'), '');
  const store = await openStore(out);
  assert.equal(store.directory, join(out, 'blocks.1.hook_mlp_out'));
  assert.equal((await store.readShard(0)).token.length, 10);
  assert.equal((await openStoreSource({ activations: out })).about.place, store.directory);
  cpSync(directory, join(out, 'blocks.0.hook_attn_out'), { recursive: true });
  await refuses(
    () => openStore(out),
    'activations/several-stores',
    'holds 2 stores',
    'blocks.0.hook_attn_out, blocks.1.hook_mlp_out',
  );
  // A directory that is a store itself is meant, whatever lies in it.
  cpSync(out, join(directory, 'more'), { recursive: true });
  assert.equal((await openStore(directory)).directory, directory);
});

test('a directory that is not a store is refused', (t) => {
  const directory = temporaryDirectory(t);
  return refuses(() => openStore(directory), 'activations/not-a-store', directory);
});

test('a shard with a single bit changed is refused by name, the others are read', async (t) => {
  const { directory } = await written(t);
  const path = join(directory, 'shard-00001.arrow');
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(path, bytes);
  const store = await openStore(directory);
  await refuses(() => store.readShard(1), 'activations/shard-changed', path, 'SHA-256');
  assert.equal((await store.readShard(0)).token.length, 10);
});

test('a missing shard is refused by name, when a store is opened and when it vanishes later', async (t) => {
  const { directory } = await written(t);
  const store = await openStore(directory);
  rmSync(join(directory, 'shard-00002.arrow'));
  for (const read of [() => store.readShard(2), () => openStore(directory)]) {
    await refuses(read, 'activations/no-shard', join(directory, 'shard-00002.arrow'));
  }
});

test('a shard of another size is refused when the store is opened, before anything is read', async (t) => {
  const { directory, manifest } = await written(t);
  const path = join(directory, 'shard-00003.arrow');
  const { size } = statSync(path);
  truncateSync(path, size - 8);
  await refuses(
    () => openStore(directory),
    'activations/shard-size',
    path,
    `has ${size - 8} bytes, but the manifest lists ${size}`,
    'again',
  );
  // A store of before sizes were listed: less than its rows take cannot be whole.
  const shards = manifest.shards.map(({ bytes: _, ...shard }) => shard);
  await writeManifest(directory, { ...manifest, shards });
  assert.ok(await openStore(directory));
  truncateSync(path, 10 * 24 - 1);
  await refuses(() => openStore(directory), 'activations/shard-size', path, `has 239 bytes, but its 10 rows need 240`);
});

test('a shard in the place of another is refused with both hashes', async (t) => {
  const { directory, manifest } = await written(t);
  cpSync(join(directory, 'shard-00000.arrow'), join(directory, 'shard-00001.arrow'));
  const store = await openStore(directory);
  const [first, second] = manifest.shards.map(({ sha256 }) => sha256.slice(0, 12));
  const path = join(directory, 'shard-00001.arrow');
  await refuses(
    () => store.readShard(1),
    'activations/shard-changed',
    path,
    `SHA-256 is ${first}…, but the manifest lists ${second}…`,
  );
});

test('a shard that is too small for the rows that the manifest lists is refused before any is read', async (t) => {
  const { directory, manifest } = await written(t);
  const shards = manifest.shards.map((shard, i) => (i === 1 ? { ...shard, rows: 2 ** 40 } : shard));
  await writeManifest(directory, { ...manifest, shards, rows: manifest.rows - 10 + 2 ** 40 });
  await refuses(() => openStore(directory), 'activations/shard-size', 'shard-00001.arrow', `its ${2 ** 40} rows need`);
});

test('a store without rows is refused: the search for the first would never end', async (t) => {
  const { directory, manifest } = await written(t);
  await writeManifest(directory, { ...manifest, shards: [], contexts: [], rows: 0, rows_wanted: 0 });
  await refuses(() => openStore(directory), 'activations/no-rows', directory);
});

test('shards that are links are read, wherever they lead; a pipe behind one is refused', async (t) => {
  const { directory } = await written(t);
  const before = await (await openStore(directory)).readShard(0);
  const elsewhere = join(temporaryDirectory(t), 'shard-00000.arrow');
  renameSync(join(directory, 'shard-00000.arrow'), elsewhere);
  symlinkSync(elsewhere, join(directory, 'shard-00000.arrow'));
  const linked = join(temporaryDirectory(t), 'store');
  symlinkSync(directory, linked);
  assert.deepEqual(await (await openStore(linked)).readShard(0), before);
  const store = await openStore(directory);
  rmSync(elsewhere);
  execFileSync('mkfifo', [elsewhere]);
  await refuses(() => openStore(directory), 'activations/shard-not-a-file', 'shard-00000.arrow');
  await refuses(() => store.readShard(0), 'disk/not-a-file', 'shard-00000.arrow');
});

/** Puts other bytes in the place of shard 0 and lists their hash. */
async function replaceShard(directory: string, manifest: Manifest, bytes: Uint8Array): Promise<void> {
  writeFileSync(join(directory, 'shard-00000.arrow'), bytes);
  const [first, ...others] = manifest.shards;
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  await writeManifest(directory, { ...manifest, shards: [{ ...first!, bytes: bytes.length, sha256 }, ...others] });
}

test('a shard with another number of rows than is listed is refused with both', async (t) => {
  const { directory, manifest } = await written(t);
  await replaceShard(directory, manifest, encodeShard(randomRows(9, 3, 'float32'), 3, 'float32'));
  const store = await openStore(directory);
  await refuses(() => store.readShard(0), 'activations/wrong-counts', 'shard-00000.arrow', '9 rows', 'lists 10');
});

test('a shard of another width than the manifest says is refused by name', async (t) => {
  const { directory, manifest } = await written(t);
  await replaceShard(directory, manifest, encodeShard(randomRows(10, 4, 'float32'), 4, 'float32'));
  const store = await openStore(directory);
  await refuses(
    () => store.readShard(0),
    'activations/foreign-shard',
    join(directory, 'shard-00000.arrow'),
    'not 3 wide',
  );
});

test('a complete store whose shards do not add up to its rows is refused when it is opened', async (t) => {
  const { directory, manifest } = await written(t);
  await writeManifest(directory, { ...manifest, shards: manifest.shards.slice(1) });
  await refuses(() => openStore(directory), 'activations/wrong-counts', directory);
});

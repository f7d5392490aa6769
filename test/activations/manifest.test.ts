import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Manifest, readManifest, writeManifest } from '../../src/activations/manifest.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { emptyManifest } from './synthetic.js';

const shard = { file: 'shard-00000.arrow', rows: 10, sha256: '0a'.repeat(32), window: 0 };
const entry = { file: 'contexts-00000.arrow', first: 0, contexts: 3, rows: 10, norm_sum: 4.5, sha256: 'f'.repeat(64) };
const piece = { file: 'partial-00000.arrow', rows: 8, sha256: '1'.repeat(64) };
const partial = { contexts: 2, contexts_sha256: '2'.repeat(64), rows: 8, norm_sum: 0.1 + 0.2, files: [piece] };
const full = emptyManifest(18, { shards: [shard], contexts: [entry], partial, rows: 10, mean_norm: 0.45 });

test('a manifest is read as it was written', async (t) => {
  const directory = temporaryDirectory(t);
  for (const manifest of [emptyManifest(5), full]) {
    await writeManifest(directory, manifest);
    assert.deepEqual(await readManifest(directory), manifest);
  }
  assert.deepEqual(readdirSync(directory), ['manifest.json']);
});

test('a directory without a manifest is refused as not a store', async (t) => {
  const directory = temporaryDirectory(t);
  await refuses(() => readManifest(directory), 'activations/not-a-store', directory);
  await refuses(() => readManifest(join(directory, 'gone')), 'activations/not-a-store');
});

test('a manifest that is not JSON is refused by name', async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'manifest.json'), '{"format": "sae-pipe-activ');
  await refuses(() => readManifest(directory), 'disk/not-json', join(directory, 'manifest.json'));
});

test('a manifest of another version is refused with both versions', async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'manifest.json'), JSON.stringify({ ...full, version: 2, hook: undefined }));
  await refuses(() => readManifest(directory), 'activations/other-version', 'version 2', 'version 1');
});

test('JSON of another kind is refused', async (t) => {
  const directory = temporaryDirectory(t);
  for (const text of ['null', '[]', '3', '{}', '{"format":"other","version":1}']) {
    writeFileSync(join(directory, 'manifest.json'), text);
    await refuses(() => readManifest(directory), 'disk/wrong-json', join(directory, 'manifest.json'));
  }
});

test('each missing key is refused by name', async (t) => {
  const directory = temporaryDirectory(t);
  // Stores of before these were written are read.
  for (const key of Object.keys(full).filter((key) => key !== 'pending' && key !== 'prepend_bos')) {
    writeFileSync(join(directory, 'manifest.json'), JSON.stringify({ ...full, [key]: undefined }));
    const code = key === 'version' ? 'activations/other-version' : 'disk/wrong-json';
    await refuses(() => readManifest(directory), code, 'manifest.json', key);
  }
});

test('a store that does not say otherwise has contexts that begin with BOS', async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'manifest.json'), JSON.stringify({ ...full, prepend_bos: undefined }));
  assert.equal((await readManifest(directory)).prepend_bos, true);
});

test('a value that does not fit is refused, naming its place', async (t) => {
  const directory = temporaryDirectory(t);
  const bad: [string, Record<string, unknown>][] = [
    ['d_in', { d_in: 0 }],
    ['dtype', { dtype: 'float64' }],
    ['prepend_bos', { prepend_bos: 'never' }],
    ['rows', { rows: -1 }],
    ['mean_norm', { mean_norm: 'x' }],
    ['complete', { complete: 1 }],
    ['shards.0.rows', { shards: [{ ...shard, rows: 0 }] }],
    ['shards.1.sha256', { shards: [shard, { ...shard, sha256: 'abc' }] }],
    ['contexts.0.norm_sum', { contexts: [{ ...entry, norm_sum: null }] }],
    ['partial.rows', { partial: { ...partial, rows: 0.5 } }],
  ];
  for (const [place, change] of bad) {
    writeFileSync(join(directory, 'manifest.json'), JSON.stringify({ ...full, ...change }));
    await refuses(() => readManifest(directory), 'disk/wrong-json', 'manifest.json', `${place}: `);
  }
});

test('no file that a manifest lists may lie outside its directory', async (t) => {
  const directory = temporaryDirectory(t);
  const names = [
    '../x.arrow',
    '/etc/x.arrow',
    'a/x.arrow',
    '..\\x.arrow',
    'x.arrow\n',
    '..',
    '.arrow',
    'x.arrow/',
    'x.txt',
    '',
  ];
  for (const file of names) {
    const changes: [string, Partial<Manifest>][] = [
      ['shards.0.file', { shards: [{ ...shard, file }] }],
      ['contexts.0.file', { contexts: [{ ...entry, file }] }],
      ['partial.files.0.file', { partial: { ...partial, files: [{ ...piece, file }] } }],
    ];
    for (const [place, change] of changes) {
      writeFileSync(join(directory, 'manifest.json'), JSON.stringify({ ...full, ...change }));
      await refuses(() => readManifest(directory), 'disk/wrong-json', `${place}: `);
    }
  }
});

test('writing a manifest into a directory that is gone is refused', (t) => {
  const directory = join(temporaryDirectory(t), 'gone');
  return refuses(() => writeManifest(directory, full), 'disk/out-vanished', directory);
});

test('a version that is not a number is refused', async (t) => {
  const directory = temporaryDirectory(t);
  const text = JSON.stringify({ ...emptyManifest(1), version: { toString: 1 } });
  writeFileSync(join(directory, 'manifest.json'), text);
  await refuses(() => readManifest(directory), 'activations/other-version', directory, 'format version {"toString":1}');
});

test('a context that has no room for more than BOS is refused', async (t) => {
  const directory = temporaryDirectory(t);
  await writeManifest(directory, emptyManifest(1, { context: 1 }));
  await refuses(() => readManifest(directory), 'disk/wrong-json', directory, 'context');
});

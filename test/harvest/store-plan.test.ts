import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeManifest } from '../../src/activations/manifest.js';
import { bytesToCome, removeUnlisted, resumable } from '../../src/harvest/harvest-plan.js';
import { emptyManifest } from '../activations/synthetic.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

test('files already on disk need no more room, shards of an unfinished window included', () => {
  const shard = (rows: number, window: number) => ({ file: 'a.arrow', rows, sha256: '', window });
  // d_in 3 in float32, and 12 bytes of token, context and pos.
  assert.equal(bytesToCome(emptyManifest(1000)), 1000 * 24);
  const done = { shards: [shard(300, 0), shard(100, 0), shard(250, 1)], rows: 400 };
  assert.equal(bytesToCome(emptyManifest(1000, done)), 350 * 24);
});

test('files of a store that its manifest does not list are removed, and no others', async (t) => {
  const directory = temporaryDirectory(t);
  const listed = ['manifest.json', 'shard-00000.arrow', 'contexts-00000.arrow', 'partial-00001.arrow'];
  const foreign = ['notes.txt', 'notes.txt.tmp', 'my-shard-00001.arrow'];
  const left = [
    'shard-00001.arrow',
    'contexts-00001.arrow',
    'partial-00000.arrow',
    'shard-00002.arrow.tmp',
    'shard-00003.arrow.0123456789abcdef.tmp',
  ];
  for (const name of [...listed, ...foreign, ...left]) writeFileSync(join(directory, name), '');
  const file = (name: string) => ({ file: name, rows: 1, sha256: '', window: 0 });
  const partial = { rows: 1, contexts: 1, norm_sum: 1, contexts_sha256: '', files: [file('partial-00001.arrow')] };
  const contexts = [{ ...file('contexts-00000.arrow'), first: 0, contexts: 1, norm_sum: 1 }];
  await removeUnlisted(directory, emptyManifest(9, { shards: [file('shard-00000.arrow')], contexts, partial }));
  assert.deepEqual(readdirSync(directory), [...listed, ...foreign].sort());
});

test('a store of another model is not resumed, nor one whose model cannot be compared, whatever its name', async (t) => {
  const directory = temporaryDirectory(t);
  const of = (fingerprint: string, name = 'm') =>
    emptyManifest(9, { model: { name, fingerprint }, precision: 'float32' });
  await writeManifest(directory, of('2:ab'));
  await refuses(() => resumable(directory, of('2:cd')), 'harvest/other-settings', directory, 'was begun with model');
  assert.deepEqual(await resumable(directory, of('2:ab', 'another name')), of('2:ab'));
  await writeManifest(directory, of('ab'));
  await refuses(() => resumable(directory, of('2:ab')), 'harvest/other-fingerprint', directory, '--overwrite');
});

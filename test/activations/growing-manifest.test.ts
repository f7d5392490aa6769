import assert from 'node:assert/strict';
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { GrowingManifest } from '../../src/activations/growing-manifest.js';
import { type Manifest, manifestPath, readManifest, writeManifest } from '../../src/activations/manifest.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { emptyManifest } from './synthetic.js';

const SHA = 'a'.repeat(64);
/** Bytes of a journal, at least; an entry has about 300. */
const ROOM = 1000;

async function begun(t: TestContext, rows = 1000): Promise<{ directory: string; growing: GrowingManifest }> {
  const directory = temporaryDirectory(t);
  const manifest = emptyManifest(rows);
  await writeManifest(directory, manifest);
  return { directory, growing: new GrowingManifest(directory, manifest, ROOM) };
}

const shard = (i: number) => ({
  shard: { file: `shard-${String(i).padStart(5, '0')}.arrow`, rows: 10, bytes: 500, sha256: SHA, window: i },
  pending: { window: i, rows: 10, contexts: 3, contexts_sha256: SHA },
});
const window = (i: number) => ({
  window: { file: `contexts-${i}.arrow`, first: 3 * i, contexts: 3, rows: 10, norm_sum: 1 / (i + 3), sha256: SHA },
  statistics: { file: `statistics-${i}.safetensors`, rows: 10 * (i + 1), sha256: SHA },
});
/** Shards and windows in turn. */
const addition = (k: number) => (k % 2 === 0 ? shard(k / 2) : window((k - 1) / 2));

const journalsIn = (directory: string) => readdirSync(directory).filter((name) => name.startsWith('journal-'));
const withoutJournal = ({ journal: _, ...manifest }: Manifest) => JSON.stringify(manifest);

test('what is on disk is what was added, after every addition, in a manifest that is rarely written anew', async (t) => {
  const { directory, growing } = await begun(t);
  let [manifests, bytes, before] = [0, 0, -1];
  const additions = 120;
  for (let k = 0; k < additions; k++) {
    await growing.add(addition(k));
    const { ino, size } = statSync(manifestPath(directory));
    if (ino !== before) manifests++;
    if (ino !== before) bytes += size;
    before = ino;
    const found = await readManifest(directory);
    assert.equal(withoutJournal(found), withoutJournal(growing.manifest));
    assert.equal(found.shards.length, 1 + (k >> 1));
    assert.equal(found.rows, 10 * ((k + 1) >> 1));
    assert.ok(journalsIn(directory).length <= 1);
  }
  assert.ok(manifests < 20, `${manifests} manifests for ${additions} additions`);
  const whole = JSON.stringify(growing.manifest, null, 1).length;
  assert.ok(bytes < 4 * whole, `${bytes} bytes of manifests, of which the last has ${whole}`);
});

test('a complete store has no journal, and no trace of one in its manifest', async (t) => {
  const { directory, growing } = await begun(t, 30);
  growing.manifest.command = { directory: '/', words: ['--tokens', '30'] };
  for (let k = 0; k < 3; k++) await growing.add(addition(k));
  assert.equal(journalsIn(directory).length, 1);
  for (let k = 3; k < 6; k++) await growing.add(addition(k));
  assert.deepEqual(readdirSync(directory), ['manifest.json']);
  const text = readFileSync(manifestPath(directory), 'utf8');
  assert.doesNotMatch(text, /journal|command/);
  assert.equal((JSON.parse(text) as Manifest).complete, true);
});

test('a journal that ends anywhere lists the additions that are whole in it', async (t) => {
  const { directory, growing } = await begun(t);
  for (let k = 0; k < 4; k++) await growing.add(addition(k));
  const path = join(directory, growing.manifest.journal!);
  const whole = readFileSync(path);
  const ends = [...whole.keys()].filter((i) => whole[i] === 10).map((i) => i + 1);
  // The first addition is in manifest.json.
  assert.equal(ends.length, 3);
  const listed = async (bytes: Uint8Array) => {
    writeFileSync(path, bytes);
    const { shards, contexts } = await readManifest(directory);
    return shards.length + contexts.length;
  };
  for (let end = 0; end <= whole.length; end += 23) {
    assert.equal(await listed(whole.subarray(0, end)), 1 + ends.filter((other) => other <= end).length, String(end));
  }
  // A block that was never written, within the last line.
  const torn = Buffer.from(whole).fill(0, ends[1]! + 80, ends[1]! + 120);
  assert.equal(await listed(torn), 3);
  // Lines of JSON that are not those written: `listed` counts what is before them.
  const changed = String(whole).replace('"file":"shard-00001.arrow","rows":10', '"file":"shard-00001.arrow","rows":11');
  assert.notEqual(changed, String(whole));
  assert.equal(await listed(Buffer.from(changed)), 2);
  assert.equal(await listed(whole), 4);
});

test('what continues takes over a journal that was found, and the additions of no other one', async (t) => {
  const { directory, growing } = await begun(t);
  for (let k = 0; k < 3; k++) await growing.add(addition(k));
  const old = join(directory, growing.manifest.journal!);
  appendFileSync(old, 'torn');
  const stale = join(directory, 'stale');
  copyFileSync(old, stale);
  const found = await readManifest(directory);
  const next = new GrowingManifest(directory, found, ROOM);
  for (let k = 3; k < 6; k++) await next.add(addition(k));
  assert.ok(!existsSync(old));
  // As if a power failure had brought it back.
  copyFileSync(stale, old);
  const after = await readManifest(directory);
  assert.deepEqual([after.shards.length, after.contexts.length], [3, 3]);
  await next.complete();
  assert.deepEqual([(await readManifest(directory)).shards.length, existsSync(old)], [3, true]);
});

test('a reader never sees less than before while the manifest is written anew', async (t) => {
  const { directory, growing } = await begun(t);
  let done = false;
  const reading = (async () => {
    let [before, reads] = [0, 0];
    while (!done) {
      const { shards, contexts } = await readManifest(directory);
      assert.ok(shards.length + contexts.length >= before, `${shards.length + contexts.length} after ${before}`);
      before = shards.length + contexts.length;
      reads++;
    }
    return reads;
  })();
  for (let k = 0; k < 60; k++) await growing.add(addition(k));
  done = true;
  assert.ok((await reading) > 5);
});

test('a reader whose journal is gone, since the manifest was written anew meanwhile, reads the new one', async (t) => {
  const { directory, growing } = await begun(t);
  for (let k = 0; k < 4; k++) await growing.add(addition(k));
  const later = join(temporaryDirectory(t), 'later');
  cpSync(directory, later, { recursive: true });
  const next = new GrowingManifest(later, await readManifest(later), ROOM);
  for (let k = 4; k < 6; k++) await next.add(addition(k));
  const parse = JSON.parse;
  // Between the manifest and its journal.
  t.mock.method(JSON, 'parse', (text: string) => {
    t.mock.restoreAll();
    rmSync(join(directory, growing.manifest.journal!));
    cpSync(later, directory, { recursive: true });
    return parse(text);
  });
  const found = await readManifest(directory);
  assert.notEqual(found.journal, growing.manifest.journal);
  assert.deepEqual([found.shards.length, found.contexts.length], [3, 3]);
});

test('a journal of another program is refused by name', async (t) => {
  const { directory, growing } = await begun(t);
  await growing.add(addition(0));
  const path = join(directory, growing.manifest.journal!);
  const { appendToJournal } = await import('../../src/disk/journal.js');
  await appendToJournal(path, { shard: { file: '../elsewhere.arrow' } }, false);
  await refuses(() => readManifest(directory), 'disk/wrong-json', path);
});

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { claimPart, isOurPart, partBytes, putDown, type Sightings } from '../../src/hub/transfer.js';
import { temporaryDirectory } from '../temporary.js';

const HASH = 'abcdef0123456789'.repeat(4);
const blobIn = (t: { after: (end: () => void) => void }) => join(temporaryDirectory(t), HASH);

test('the first process gets a part, those that come meanwhile get none', async (t) => {
  const blob = blobIn(t);
  const part = await claimPart(blob);
  assert.ok(part && part.size === 0);
  // A later millisecond: begun after the first.
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(await claimPart(blob), null);
  assert.deepEqual(readdirSync(join(blob, '..')), [basename(part.path)]);
});

test('an abandoned part is resumed, the longest of several, and the others are deleted', async (t) => {
  const blob = blobIn(t);
  const part = (await claimPart(blob))!;
  writeFileSync(part.path, 'half of it');
  await putDown(part, blob);
  writeFileSync(`${blob}.000000001-00000000-0-aaaaaa.incomplete`, 'half');
  assert.equal(await partBytes(blob), 10);
  const next = (await claimPart(blob))!;
  assert.equal(next.size, 10);
  assert.equal(readFileSync(next.path, 'utf8'), 'half of it');
  assert.equal(readdirSync(join(blob, '..')).length, 1);
});

test('a part of another machine that has not grown for long is abandoned, a fresh one is not', async (t) => {
  const blob = blobIn(t);
  const foreign = `${blob}.000000001-00000000-17-aaaaaa.incomplete`;
  writeFileSync(foreign, 'theirs');
  assert.equal(await claimPart(blob), null);
  const long = Date.now() / 1000 - 3600;
  utimesSync(foreign, long, long);
  assert.equal((await claimPart(blob))?.size, 6);
});

test('parts of other blobs, and of other programs, are left alone', async (t) => {
  const blob = blobIn(t);
  const others = [`${HASH}.incomplete`, `${'0'.repeat(64)}.000000001-00000000-0-aaaaaa.incomplete`];
  for (const name of others) writeFileSync(join(blob, '..', name), 'not ours');
  assert.equal((await claimPart(blob))?.size, 0);
  for (const name of others) assert.equal(readFileSync(join(blob, '..', name), 'utf8'), 'not ours');
});

test('file times that are off do not make a living process’s part abandoned', async (t) => {
  const blob = blobIn(t);
  const part = (await claimPart(blob))!;
  await new Promise((resolve) => setTimeout(resolve, 5));
  const behind = Date.now() / 1000 - 600;
  utimesSync(part.path, behind, behind);
  assert.equal(await claimPart(blob), null);
});

test('a part that does not grow for long is taken over, by the watcher’s own clock', async (t) => {
  const blob = blobIn(t);
  const part = (await claimPart(blob))!;
  await new Promise((resolve) => setTimeout(resolve, 5));
  const long = performance.now() - 3_600_000;
  // It grew since.
  const seen: Sightings = new Map([[part.path, { size: 7, since: long }]]);
  assert.equal(await claimPart(blob, seen), null);
  seen.set(part.path, { size: 0, since: long });
  assert.ok(await claimPart(blob, seen));
});

test('a process whose part was taken over notices', async (t) => {
  const blob = blobIn(t);
  const part = (await claimPart(blob))!;
  const handle = await open(part.path, 'r+');
  try {
    assert.equal(await isOurPart(part.path, handle), true);
    renameSync(part.path, `${part.path}.taken`);
    assert.equal(await isOurPart(part.path, handle), false);
    writeFileSync(part.path, 'another file of that name');
    assert.equal(await isOurPart(part.path, handle), false);
  } finally {
    await handle.close();
  }
});

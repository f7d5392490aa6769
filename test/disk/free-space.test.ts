import assert from 'node:assert/strict';
import { statfsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkFreeSpace, formatBytes } from '../../src/disk/space.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

test('sizes are given in the largest unit that leaves at least 1', () => {
  assert.equal(formatBytes(0), '0 B');
  assert.equal(formatBytes(1023), '1023 B');
  assert.equal(formatBytes(1024), '1.0 KiB');
  assert.equal(formatBytes(1.5 * 2 ** 30), '1.5 GiB');
  assert.equal(formatBytes(2 ** 40), '1.0 TiB');
  assert.equal(formatBytes(2 ** 50), '1.0 PiB');
  assert.equal(formatBytes(2 ** 61), '2048.0 PiB');
});

test('what fits passes', async (t) => {
  await checkFreeSpace(temporaryDirectory(t), 1);
});

test('an absurd need is refused with both sizes and the path', async (t) => {
  const directory = temporaryDirectory(t);
  await refuses(() => checkFreeSpace(directory, 2 ** 61), 'disk/too-full', directory, '2048.0 PiB are needed', '--out');
});

test('the free size named is that of the disk', async (t) => {
  const directory = temporaryDirectory(t);
  const { bavail, bsize } = statfsSync(directory);
  const free = bavail * bsize;
  let message = '';
  await checkFreeSpace(directory, 2 ** 61).catch((error: Error) => {
    message = error.message;
  });
  const [, amount, unit] = /and ([\d.]+) (\w+) are free/.exec(message)!;
  const named = Number(amount) * 1024 ** ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'].indexOf(unit!);
  // Other processes write to the same disk meanwhile.
  assert.ok(Math.abs(named - free) < 0.2 * free + 2 ** 20, `${named} named, ${free} found`);
});

test('a path that does not exist yet is judged by the nearest directory that does', async (t) => {
  const path = join(temporaryDirectory(t), 'not', 'there', 'yet');
  await checkFreeSpace(path, 1);
  await refuses(() => checkFreeSpace(path, 2 ** 61), 'disk/too-full', '2048.0 PiB are needed');
  await checkFreeSpace('a-relative-path-that-does-not-exist/either', 1);
});

test('the refusal names the requested path, also if it does not exist yet', async (t) => {
  const path = join(temporaryDirectory(t), 'not', 'there', 'yet');
  await refuses(() => checkFreeSpace(path, 2 ** 61), 'disk/too-full', path);
});

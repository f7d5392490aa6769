import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { z } from 'zod';
import { checkJson, readJsonFile, readTextFile } from '../../src/disk/json.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const MISSING = ['There is no such thing.', 'Make one.'] as const;

test('a file is read as it is, a missing one is null', async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'a'), 'naïve\n');
  assert.equal(await readTextFile(join(directory, 'a')), 'naïve\n');
  assert.equal(await readTextFile(join(directory, 'b')), null);
  // A file where a directory is named: there is nothing below it, either.
  assert.equal(await readTextFile(join(directory, 'a', 'b')), null);
});

test('a directory and a pipe are refused at once, never waited for', async (t) => {
  const directory = temporaryDirectory(t);
  mkdirSync(join(directory, 'folder'));
  execFileSync('mkfifo', [join(directory, 'pipe')]);
  for (const name of ['folder', 'pipe']) {
    await refuses(
      () => readTextFile(join(directory, name), 'Put a file there.'),
      'disk/not-a-file',
      `${name} is not a file`,
    );
    await refuses(() => readJsonFile(join(directory, name), MISSING), 'disk/not-a-file', `${name} is not a file`);
  }
});

test('links are followed to regular files, and anything else is refused', async (t) => {
  const directory = temporaryDirectory(t);
  const elsewhere = temporaryDirectory(t);
  writeFileSync(join(elsewhere, 'file'), 'text');
  symlinkSync(elsewhere, join(directory, 'folder'));
  symlinkSync('folder/file', join(directory, 'link'));
  assert.equal(await readTextFile(join(directory, 'link')), 'text');
  symlinkSync('nowhere', join(directory, 'dangling'));
  assert.equal(await readTextFile(join(directory, 'dangling')), null);
  for (const [i, target] of ['/dev/zero', '/dev/null', 'folder'].entries()) {
    symlinkSync(target, join(directory, `odd${i}`));
    await refuses(() => readTextFile(join(directory, `odd${i}`)), 'disk/not-a-file');
  }
});

test('a file of more bytes than its reader takes is refused, whatever size it says', async (t) => {
  const path = join(temporaryDirectory(t), 'large');
  writeFileSync(path, 'abc');
  assert.equal(await readTextFile(path, undefined, 3), 'abc');
  await refuses(
    () => readTextFile(path, 'Take a smaller one.', 2),
    'disk/file-too-large',
    path,
    'has more than 2 B',
    'Take a smaller one.',
  );
  truncateSync(path, 2 ** 40);
  await refuses(() => readTextFile(path), 'disk/file-too-large', path);
  // Of size 0 as far as stat knows.
  if (existsSync('/proc/cpuinfo'))
    await refuses(() => readTextFile('/proc/cpuinfo', undefined, 10), 'disk/file-too-large', '/proc/cpuinfo');
});

test('JSON that is missing, broken or of another shape is refused, each in its own words', async (t) => {
  const path = join(temporaryDirectory(t), 'a.json');
  await refuses(() => readJsonFile(path, MISSING), 'disk/no-json', 'There is no such thing.', 'Make one.');
  writeFileSync(path, '{"n": ');
  await refuses(() => readJsonFile(path, MISSING, 'Mend it.'), 'disk/not-json', `${path} is not JSON`, 'Mend it.');
  writeFileSync(path, '{"a": {"n": "one"}}');
  const json = await readJsonFile(path, MISSING);
  const schema = z.object({ a: z.object({ n: z.number(), m: z.number().default(2) }) });
  await refuses(() => checkJson(schema, json, path, 'Mend it.'), 'disk/wrong-json', `${path}: a.n: `, 'Mend it.');
  assert.deepEqual(checkJson(schema, { a: { n: 1 } }, path), { a: { n: 1, m: 2 } });
});

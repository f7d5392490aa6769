import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { lookUp, makeDirectory } from '../../src/disk/durable.js';
import type { RefusalCode } from '../../src/errors/codes.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const LINUX = process.platform === 'linux';

test('a directory is made with its parents, and the first new one is returned', async (t) => {
  const root = temporaryDirectory(t);
  const path = join(root, 'a', 'b', 'c');
  assert.deepEqual((await lookUp(path)).missing, [join(root, 'a'), join(root, 'a', 'b'), path]);
  assert.equal(await makeDirectory(path), join(root, 'a'));
  assert.ok(statSync(path).isDirectory());
  assert.equal(await makeDirectory(path), undefined);
  assert.equal(await makeDirectory(join(path, 'd')), join(path, 'd'));
});

test('directories behind links are found and made', async (t) => {
  const root = temporaryDirectory(t);
  mkdirSync(join(root, 'real'));
  symlinkSync(join(root, 'real'), join(root, 'link'));
  await makeDirectory(join(root, 'link', 'a'));
  assert.deepEqual(readdirSync(join(root, 'real')), ['a']);
});

test('many may make the same directories at once', async (t) => {
  const path = join(temporaryDirectory(t), 'a', 'b', 'c', 'd');
  await Promise.all(Array.from({ length: 20 }, () => makeDirectory(path)));
  assert.ok(existsSync(path));
});

test('obstacles are named: a file, links to nothing, loops of links, long names', async (t) => {
  const root = temporaryDirectory(t);
  writeFileSync(join(root, 'file'), '');
  symlinkSync(join(root, 'nothing'), join(root, 'dangling'));
  symlinkSync(join(root, 'two'), join(root, 'one'));
  symlinkSync(join(root, 'one'), join(root, 'two'));
  const cases: [name: string, code: RefusalCode, place?: string][] = [
    ['file', 'disk/parent-not-a-directory', join(root, 'file')],
    ['file/a/b', 'disk/parent-not-a-directory', join(root, 'file')],
    ['dangling', 'disk/broken-link', join(root, 'dangling')],
    ['dangling/a/b', 'disk/broken-link', join(root, 'dangling')],
    ['one', 'disk/link-loop'],
    ['one/a/b', 'disk/link-loop'],
    ['n'.repeat(300), 'disk/name-too-long'],
    [join('n'.repeat(300), 'a'), 'disk/name-too-long'],
  ];
  for (const [name, code, place = ''] of cases) {
    const path = join(root, name);
    await refuses(() => lookUp(path), code, path, place);
    await refuses(() => makeDirectory(path), code, path, place);
  }
  assert.deepEqual(readdirSync(root).sort(), ['dangling', 'file', 'one', 'two']);
});

test('kernel file systems accept no directories, and attempts end', { skip: !LINUX }, async () => {
  for (const [place, ...codes] of [
    ['/proc/sae-pipe/a', 'disk/no-new-directories'],
    // Users other than root may not try.
    ['/sys/sae-pipe/a', 'disk/not-writable', 'disk/no-new-directories'],
    ['/dev/null/a', 'disk/parent-not-a-directory'],
  ] as const) {
    await refuses(() => makeDirectory(place), codes, place);
  }
});

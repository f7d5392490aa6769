import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/config/refusal.js';
import { refusedWrite, writeAside } from '../../src/disk/write-aside.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

test('text, bytes and a writer function make the file, and nothing beside it', async (t) => {
  const directory = temporaryDirectory(t);
  await writeAside(join(directory, 'text'), 'σ\n');
  await writeAside(join(directory, 'bytes'), Uint8Array.of(0, 255, 10));
  await writeAside(join(directory, 'pieces'), async (file) => {
    await file.writeFile('one ');
    await file.writeFile('two');
  });
  assert.equal(readFileSync(join(directory, 'text'), 'utf8'), 'σ\n');
  assert.deepEqual([...readFileSync(join(directory, 'bytes'))], [0, 255, 10]);
  assert.equal(readFileSync(join(directory, 'pieces'), 'utf8'), 'one two');
  assert.deepEqual(readdirSync(directory).sort(), ['bytes', 'pieces', 'text']);
});

test('while it is written the old file stands unchanged', async (t) => {
  const path = join(temporaryDirectory(t), 'file');
  writeFileSync(path, 'old');
  let seen = '';
  await writeAside(path, async (file) => {
    await file.writeFile('new and longer');
    await file.sync();
    seen = readFileSync(path, 'utf8');
  });
  assert.equal(seen, 'old');
  assert.equal(readFileSync(path, 'utf8'), 'new and longer');
});

test('a failure half-way leaves the old file and nothing else, and passes the error on', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'file');
  writeFileSync(path, 'old');
  const failure = new Error('half-way');
  const write = writeAside(path, async (file) => {
    await file.writeFile('half');
    throw failure;
  });
  await assert.rejects(write, (error) => error === failure);
  assert.equal(readFileSync(path, 'utf8'), 'old');
  assert.deepEqual(readdirSync(directory), ['file']);
});

test('a failure of the first write leaves no file at all', async (t) => {
  const directory = temporaryDirectory(t);
  await assert.rejects(
    writeAside(join(directory, 'file'), () => Promise.reject(new Error('at once'))),
    /at once/,
  );
  assert.deepEqual(readdirSync(directory), []);
});

test('what a crash left aside is replaced', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'file');
  writeFileSync(`${path}.tmp`, 'a torn and much longer text of an earlier run');
  await writeAside(path, 'whole');
  assert.equal(readFileSync(path, 'utf8'), 'whole');
  assert.equal(existsSync(`${path}.tmp`), false);
});

test('a directory that is missing, or is a file, is refused with the path', async (t) => {
  const directory = temporaryDirectory(t);
  const missing = join(directory, 'gone', 'file');
  await refuses(() => writeAside(missing, 'x'), missing, 'directory is gone', '--out');
  writeFileSync(join(directory, 'plain'), '');
  const below = join(directory, 'plain', 'file');
  await refuses(() => writeAside(below, 'x'), below, 'not a directory');
});

test('each error of the file system that a user can mend has its sentence, with path and cause', () => {
  const sentences: Record<string, RegExp> = {
    ENOSPC: /disk is full/,
    EDQUOT: /disk is full/,
    EFBIG: /file size limit/,
    EACCES: /may not be written \(EACCES\)/,
    EPERM: /may not be written \(EPERM\)/,
    EROFS: /may not be written \(EROFS\)/,
    ENOENT: /directory is gone/,
    ENOTDIR: /not a directory/,
    // Whatever else the file system says: a disk that fails, a server that went away.
    EIO: /could not be written \(EIO on write\)/,
    ESTALE: /could not be written \(ESTALE on write\)/,
  };
  for (const [code, sentence] of Object.entries(sentences)) {
    const cause = Object.assign(new Error(code), { code, syscall: 'write' });
    const refusal = refusedWrite('/some/place', cause);
    assert.ok(refusal instanceof Refusal, code);
    assert.match(refusal.message, sentence);
    assert.ok(refusal.message.includes('/some/place'), code);
    assert.ok(refusal.remedy, code);
    assert.equal(refusal.cause, cause);
  }
});

test('other errors, refusals among them, pass through unchanged', () => {
  for (const cause of [
    new TypeError('bug'),
    new Refusal('No.'),
    Object.assign(new Error(), { code: 'ERR_OUT_OF_RANGE' }),
    'text',
    undefined,
  ]) {
    assert.equal(refusedWrite('/some/place', cause), cause);
  }
});

import assert from 'node:assert/strict';
import { lstatSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { makeDirectory } from '../../src/disk/durable.js';
import { writeAside, writtenAside } from '../../src/disk/output-file.js';
import { errorCode, refusedWrite, Unconfirmed } from '../../src/disk/refused.js';
import { Refusal } from '../../src/errors/refusal.js';
import { refusalOf, refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

test('text, bytes and a writer function make the file, and nothing next to it', async (t) => {
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

test('while a file is written the old one stays unchanged', async (t) => {
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

test('an existing file at a temporary name is neither followed nor written to', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'file');
  const victim = join(directory, 'victim');
  writeFileSync(victim, 'untouched');
  symlinkSync(victim, `${path}.tmp`);
  await writeAside(path, 'whole');
  assert.equal(readFileSync(path, 'utf8'), 'whole');
  assert.equal(readFileSync(victim, 'utf8'), 'untouched');
  assert.ok(lstatSync(`${path}.tmp`).isSymbolicLink());
});

test('of two writers of one file each writes a separate file, and the last one’s is complete', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'file');
  await writeAside(path, async (file) => {
    await file.writeFile('the first ');
    const [aside] = readdirSync(directory);
    assert.equal(writtenAside(aside!), 'file');
    await writeAside(path, 'the second, which is quicker');
    assert.equal(readFileSync(path, 'utf8'), 'the second, which is quicker');
    await file.writeFile('one');
  });
  assert.equal(readFileSync(path, 'utf8'), 'the first one');
  assert.deepEqual(readdirSync(directory), ['file']);
});

test('names of temporary files are told from others', () => {
  const names = ['a.json.0123456789abcdef.tmp', 'a.json.tmp', 'a.json', 'a.tmp.json', 'a.json.0123.tmp'];
  assert.deepEqual(names.map(writtenAside), ['a.json', 'a.json', undefined, undefined, 'a.json.0123']);
});

test('a name as long as the file system allows can be written', async (t) => {
  const path = join(temporaryDirectory(t), 'é'.repeat(127));
  await writeAside(path, 'whole');
  assert.equal(readFileSync(path, 'utf8'), 'whole');
});

/** Lets syncs fail with `code`: of directories, of files, or of both. */
async function failingSync(t: TestContext, code: string, fails: (isDirectory: boolean) => boolean): Promise<void> {
  const any = await open('.', 'r');
  const handles = Object.getPrototypeOf(any) as FileHandle;
  await any.close();
  const { sync } = handles;
  t.mock.method(handles, 'sync', async function (this: FileHandle) {
    if (!fails((await this.stat()).isDirectory())) return sync.call(this);
    throw Object.assign(new Error(code), { code, syscall: 'fsync', errno: -constants.errno[code as 'EIO'] });
  });
}

test('a directory that cannot be synced after the rename: the file stays, complete, and a message says so', async (t) => {
  const path = join(temporaryDirectory(t), 'file');
  writeFileSync(path, 'old');
  await failingSync(t, 'EIO', (isDirectory) => isDirectory);
  const refusal = await refusalOf(() => writeAside(path, 'new'), Unconfirmed, 'disk/unconfirmed');
  assert.match(refusal.message, /was written, .*EIO on fsync/);
  assert.equal((refusal as Unconfirmed).path, path);
  assert.equal(readFileSync(path, 'utf8'), 'new');
  assert.deepEqual(readdirSync(dirname(path)), ['file']);
});

test('a file that cannot be synced before the rename: the old one stays', async (t) => {
  const path = join(temporaryDirectory(t), 'file');
  writeFileSync(path, 'old');
  await failingSync(t, 'EIO', (isDirectory) => !isDirectory);
  await refuses(() => writeAside(path, 'new'), 'disk/not-written');
  assert.equal(readFileSync(path, 'utf8'), 'old');
  assert.deepEqual(readdirSync(dirname(path)), ['file']);
});

for (const code of ['EINVAL', 'ENOTSUP', 'ENOSYS']) {
  test(`a file system that answers ${code} to every sync is written to all the same`, async (t) => {
    const path = join(temporaryDirectory(t), 'new', 'file');
    await failingSync(t, code, () => true);
    await makeDirectory(dirname(path));
    await writeAside(path, 'whole');
    assert.equal(readFileSync(path, 'utf8'), 'whole');
  });
}

test('a directory that is missing, or is a file, is refused with the path', async (t) => {
  const directory = temporaryDirectory(t);
  const missing = join(directory, 'gone', 'file');
  await refuses(() => writeAside(missing, 'x'), 'disk/out-vanished', missing, '--out');
  writeFileSync(join(directory, 'plain'), '');
  const below = join(directory, 'plain', 'file');
  await refuses(() => writeAside(below, 'x'), 'disk/out-vanished', below);
});

test('each file system error that a user can fix has its sentence, with path and cause', () => {
  const sentences: Record<string, RegExp> = {
    ENOSPC: /disk is full/,
    EDQUOT: /quota/,
    EMFILE: /too many files open/,
    ENFILE: /too many files open/,
    ENAMETOOLONG: /too long/,
    ELOOP: /loop/,
    EFBIG: /file size limit/,
    EACCES: /may not be written \(EACCES\)/,
    EPERM: /may not be written \(EPERM\)/,
    EROFS: /may not be written \(EROFS\)/,
    ENOENT: /directory has disappeared/,
    ENOTDIR: /not a directory/,
    // Any other error of the file system: a disk that fails, a server that went away.
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

test('an error that libuv has no name for is reported by its number', { skip: process.platform !== 'linux' }, () => {
  const cause = Object.assign(new Error(), { code: 'Unknown system error -122', errno: -122, syscall: 'write' });
  assert.equal(errorCode(cause), 'EDQUOT');
  assert.match((refusedWrite('/some/place', cause) as Refusal).message, /quota/);
  assert.equal(errorCode({ ...cause, errno: -116, syscall: 'open' }), 'ESTALE');
  assert.equal(errorCode({ ...cause, errno: -9999 }), 'Unknown system error -122');
  assert.equal(errorCode(new Error('bug')), undefined);
});

test('other errors, refusals among them, pass through unchanged', () => {
  for (const cause of [
    new TypeError('bug'),
    new Refusal('No.', undefined, 'disk/not-a-file'),
    Object.assign(new Error(), { code: 'ERR_OUT_OF_RANGE' }),
    'text',
    undefined,
  ]) {
    assert.equal(refusedWrite('/some/place', cause), cause);
  }
});

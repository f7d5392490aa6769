import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { z } from 'zod';
import { checkJson, readJsonFile, readTextFile } from '../../src/disk/json-file.js';
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
      `${name} is not a file`,
      'Put a file',
    );
    await refuses(() => readJsonFile(join(directory, name), MISSING), `${name} is not a file`);
  }
});

test('JSON that is missing, broken or of another shape is refused, each in its own words', async (t) => {
  const path = join(temporaryDirectory(t), 'a.json');
  await refuses(() => readJsonFile(path, MISSING), 'There is no such thing.', 'Make one.');
  writeFileSync(path, '{"n": ');
  await refuses(() => readJsonFile(path, MISSING, 'Mend it.'), `${path} is not JSON`, 'Mend it.');
  writeFileSync(path, '{"a": {"n": "one"}}');
  const json = await readJsonFile(path, MISSING);
  const schema = z.object({ a: z.object({ n: z.number(), m: z.number().default(2) }) });
  await refuses(() => checkJson(schema, json, path, 'Mend it.'), `${path}: a.n: `, 'Mend it.');
  assert.deepEqual(checkJson(schema, { a: { n: 1 } }, path), { a: { n: 1, m: 2 } });
});

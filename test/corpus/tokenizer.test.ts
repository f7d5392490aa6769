import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/config/refusal.js';
import { openTokenizer } from '../../src/corpus/tokenizer.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const MODEL = 'assets/tiny-gemma';
const FILES = ['tokenizer.json', 'tokenizer_config.json'] as const;

test("Gemma's tokenizer has BOS 2 and adds nothing to the text", async () => {
  const tokenizer = await openTokenizer(MODEL, 2);
  assert.equal(tokenizer.bosTokenId, 2);
  const ids = tokenizer.encode('Gentlemen of the Senate');
  assert.ok(ids.length > 1);
  assert.equal(ids.includes(2), false);
  assert.deepEqual(tokenizer.encode(''), []);
});

test('a BOS written out in the text is the BOS token', async () => {
  const tokenizer = await openTokenizer(MODEL, 2);
  assert.ok(tokenizer.encode('a<bos>b').includes(2));
});

test('a directory without one of the files is refused, naming it', async (t) => {
  for (const missing of FILES) {
    const directory = temporaryDirectory(t);
    for (const name of FILES) if (name !== missing) copyFileSync(join(MODEL, name), join(directory, name));
    await refuses(() => openTokenizer(directory, 2), directory, `has no ${missing}`);
  }
});

test('a broken tokenizer.json is refused by directory', async (t) => {
  const directory = temporaryDirectory(t);
  copyFileSync(join(MODEL, FILES[1]), join(directory, FILES[1]));
  const whole = readFileSync(join(MODEL, FILES[0]));
  writeFileSync(join(directory, FILES[0]), whole.subarray(0, whole.length >> 1));
  await refuses(() => openTokenizer(directory, 2), directory, 'could not be opened');
});

test('a tokenizer whose BOS is not that of config.json is refused', async (t) => {
  const directory = temporaryDirectory(t);
  copyFileSync(join(MODEL, FILES[0]), join(directory, FILES[0]));
  const config = JSON.parse(readFileSync(join(MODEL, FILES[1]), 'utf8')) as Record<string, unknown>;
  const { bos_token: _, ...rest } = config;
  await refuses(() => openTokenizer(MODEL, 1), MODEL, 'BOS is token 2', 'and 1');
  writeFileSync(join(directory, FILES[1]), JSON.stringify(rest));
  await refuses(() => openTokenizer(directory, 2), directory, 'BOS is token');
});

test('a tokenizer that gives what is no token is refused when it does', async (t) => {
  const directory = temporaryDirectory(t);
  copyFileSync(join(MODEL, FILES[1]), join(directory, FILES[1]));
  const whole = readFileSync(join(MODEL, FILES[0]), 'utf8');
  const json = JSON.parse(whole) as { model: { vocab: Record<string, unknown> } };
  for (const id of ['x', -1, 1.5, 2 ** 40]) {
    json.model.vocab.a = id;
    writeFileSync(join(directory, FILES[0]), JSON.stringify(json));
    await refuses(async () => (await openTokenizer(directory, 2)).encode('a'), directory, 'Download tokenizer.json');
  }
});

test('files of a tokenizer may be links; nothing of a file that is another is shown', async (t) => {
  const directory = temporaryDirectory(t);
  copyFileSync(join(MODEL, FILES[0]), join(directory, FILES[0]));
  symlinkSync(resolve(MODEL, FILES[1]), join(directory, FILES[1]));
  assert.ok((await openTokenizer(directory, 2)).encode('a').length > 0);
  const secret = join(temporaryDirectory(t), 'key');
  writeFileSync(secret, 'PRIVATE KEY');
  rmSync(join(directory, FILES[0]));
  symlinkSync(secret, join(directory, FILES[0]));
  const refusal = await openTokenizer(directory, 2).catch((error: Error) => error);
  assert.ok(refusal instanceof Refusal && !/PRIVATE/.test(refusal.message + refusal.remedy));
});

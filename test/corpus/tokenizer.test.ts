import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/config/refusal.js';
import { openTokenizer } from '../../src/corpus/tokenizer.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { encodeText } from './encode-text.js';

const MODEL = 'assets/tiny-gemma';
const FILES = ['tokenizer.json', 'tokenizer_config.json'] as const;

test("Gemma's tokenizer has BOS 2 and adds nothing to the text", async () => {
  const tokenizer = await openTokenizer(MODEL, { bosTokenId: 2 });
  assert.equal(tokenizer.bosTokenId, 2);
  const ids = encodeText(tokenizer, 'Gentlemen of the Senate');
  assert.ok(ids.length > 1);
  assert.equal(ids.includes(2), false);
  assert.deepEqual(encodeText(tokenizer, ''), []);
});

test('a BOS written out in the text is the BOS token', async () => {
  const tokenizer = await openTokenizer(MODEL, { bosTokenId: 2 });
  assert.ok(encodeText(tokenizer, 'a<bos>b').includes(2));
});

test('a directory without one of the files is refused, naming it', async (t) => {
  for (const missing of FILES) {
    const directory = temporaryDirectory(t);
    for (const name of FILES) if (name !== missing) copyFileSync(join(MODEL, name), join(directory, name));
    await refuses(() => openTokenizer(directory, { bosTokenId: 2 }), directory, `has no ${missing}`);
  }
});

test('a broken tokenizer.json is refused by directory', async (t) => {
  const directory = temporaryDirectory(t);
  copyFileSync(join(MODEL, FILES[1]), join(directory, FILES[1]));
  const whole = readFileSync(join(MODEL, FILES[0]));
  writeFileSync(join(directory, FILES[0]), whole.subarray(0, whole.length >> 1));
  await refuses(() => openTokenizer(directory, { bosTokenId: 2 }), directory, 'tokenizer.json');
});

test('a tokenizer whose BOS is not that of config.json is refused', async (t) => {
  const directory = temporaryDirectory(t);
  copyFileSync(join(MODEL, FILES[0]), join(directory, FILES[0]));
  const config = JSON.parse(readFileSync(join(MODEL, FILES[1]), 'utf8')) as Record<string, unknown>;
  const { bos_token: _, ...rest } = config;
  await refuses(() => openTokenizer(MODEL, { bosTokenId: 1 }), MODEL, 'BOS is token 2', 'and 1');
  writeFileSync(join(directory, FILES[1]), JSON.stringify(rest));
  await refuses(() => openTokenizer(directory, { bosTokenId: 2 }), directory, 'BOS is no token');
});

test('a tokenizer that does not fit the weights is refused', async () => {
  const open = (vocabulary: number, special: [string, number[]][] = []) =>
    openTokenizer(MODEL, { bosTokenId: 2, vocabulary, special: new Map(special) });
  await refuses(() => open(4000), MODEL, '4096', '4000');
  await refuses(() => open(256_000), MODEL, '4096', '256000');
  // Rows to spare are what Gemma 3 has.
  await open(4224, [
    ['eos_token_id', [1]],
    ['pad_token_id', [0]],
  ]);
  await refuses(() => open(4096, [['eos_token_id', [1, 106]]]), 'eos_token_id 106');
  await refuses(() => open(4096, [['pad_token_id', [5]]]), 'pad_token_id 5');
});

/** A directory with the bundled tokenizer, its parts replaced. */
function changed(t: Parameters<typeof temporaryDirectory>[0], change: object): string {
  const directory = temporaryDirectory(t);
  copyFileSync(join(MODEL, FILES[1]), join(directory, FILES[1]));
  const file = JSON.parse(readFileSync(join(MODEL, FILES[0]), 'utf8')) as object;
  writeFileSync(join(directory, FILES[0]), JSON.stringify({ ...file, ...change }));
  return directory;
}

test('a tokenizer with parts that our encoder lacks is left to the library, or refused by name', async (t) => {
  const expected = { bosTokenId: 2 };
  const lower = await openTokenizer(changed(t, { normalizer: { type: 'Lowercase' } }), expected);
  const plain = await openTokenizer(changed(t, { normalizer: null }), expected);
  assert.deepEqual(encodeText(lower, 'SEN', 'ATE'), encodeText(plain, 'senate'));
  // Where a text of such a tokenizer may be cut is not known.
  await refuses(() => encodeText(lower, 'a '.repeat(2 ** 20)), 'a text', 'Lowercase');
  const split = { type: 'Split', pattern: { String: 'e' }, behavior: 'MergedWithPrevious', invert: false };
  const merged = changed(t, { pre_tokenizer: split });
  await refuses(() => openTokenizer(merged, expected), merged, 'MergedWithPrevious');
  const single = { id: 5000, content: 'end', single_word: true, lstrip: false, rstrip: false, special: false };
  const both = changed(t, { normalizer: { type: 'Lowercase' }, added_tokens: [single] });
  await refuses(() => openTokenizer(both, expected), both, 'single_word');
});

test('a tokenizer class that is not a name is answered by the library, or refused', async (t) => {
  const directory = changed(t, {});
  writeFileSync(
    join(directory, FILES[1]),
    JSON.stringify({ ...JSON.parse(readFileSync(join(MODEL, FILES[1]), 'utf8')), tokenizer_class: { toString: 1 } }),
  );
  await refuses(() => openTokenizer(directory, { bosTokenId: 2 }), directory);
});

test('a tokenizer that gives what is no token is refused when it does', async (t) => {
  const directory = temporaryDirectory(t);
  copyFileSync(join(MODEL, FILES[1]), join(directory, FILES[1]));
  const whole = readFileSync(join(MODEL, FILES[0]), 'utf8');
  const json = JSON.parse(whole) as { model: { vocab: Record<string, unknown> } };
  for (const id of ['x', -1, 1.5, 2 ** 40]) {
    json.model.vocab.a = id;
    writeFileSync(join(directory, FILES[0]), JSON.stringify(json));
    await refuses(
      async () => encodeText(await openTokenizer(directory, { bosTokenId: 2 }), 'a'),
      directory,
      'Download tokenizer.json',
    );
  }
});

test('files of a tokenizer may be links; nothing of a file that is another is shown', async (t) => {
  const directory = temporaryDirectory(t);
  copyFileSync(join(MODEL, FILES[0]), join(directory, FILES[0]));
  symlinkSync(resolve(MODEL, FILES[1]), join(directory, FILES[1]));
  assert.ok(encodeText(await openTokenizer(directory, { bosTokenId: 2 }), 'a').length > 0);
  const secret = join(temporaryDirectory(t), 'key');
  writeFileSync(secret, 'PRIVATE KEY');
  rmSync(join(directory, FILES[0]));
  symlinkSync(secret, join(directory, FILES[0]));
  const refusal = await openTokenizer(directory, { bosTokenId: 2 }).catch((error: Error) => error);
  assert.ok(refusal instanceof Refusal && !/PRIVATE/.test(refusal.message + refusal.remedy));
});

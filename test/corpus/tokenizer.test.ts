import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { openTokenizer } from '../../src/corpus/tokenizer.js';
import { Refusal } from '../../src/errors/refusal.js';
import type { BosPolicy } from '../../src/lm/family.js';
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
    await refuses(
      () => openTokenizer(directory, { bosTokenId: 2 }),
      'corpus/no-tokenizer',
      directory,
      `has no ${missing}`,
    );
  }
});

test('a broken tokenizer.json is refused by directory', async (t) => {
  const directory = temporaryDirectory(t);
  copyFileSync(join(MODEL, FILES[1]), join(directory, FILES[1]));
  const whole = readFileSync(join(MODEL, FILES[0]));
  writeFileSync(join(directory, FILES[0]), whole.subarray(0, whole.length >> 1));
  await refuses(() => openTokenizer(directory, { bosTokenId: 2 }), 'disk/not-json', directory, 'tokenizer.json');
});

test('a tokenizer whose BOS is not that of config.json is refused', async (t) => {
  const directory = temporaryDirectory(t);
  copyFileSync(join(MODEL, FILES[0]), join(directory, FILES[0]));
  const config = JSON.parse(readFileSync(join(MODEL, FILES[1]), 'utf8')) as Record<string, unknown>;
  const { bos_token: _, ...rest } = config;
  await refuses(
    () => openTokenizer(MODEL, { bosTokenId: 1 }),
    'corpus/other-tokenizer',
    MODEL,
    'BOS is token 2',
    'and 1',
  );
  writeFileSync(join(directory, FILES[1]), JSON.stringify(rest));
  await refuses(
    () => openTokenizer(directory, { bosTokenId: 2 }),
    'corpus/other-tokenizer',
    directory,
    'BOS is no token',
  );
});

test('BOS is prepended always, never, or as the tokenizer itself does', async (t) => {
  const directory = temporaryDirectory(t);
  const read = (name: string) => JSON.parse(readFileSync(join(MODEL, name), 'utf8')) as Record<string, unknown>;
  const { add_bos_token: _, ...config } = read(FILES[1]);
  const file = read(FILES[0]);
  const prepends = async (bos: BosPolicy, more: object, template: object = {}) => {
    writeFileSync(join(directory, FILES[0]), JSON.stringify({ ...file, ...template }));
    writeFileSync(join(directory, FILES[1]), JSON.stringify({ ...config, ...more }));
    return (await openTokenizer(directory, { bosTokenId: 2, bos })).prependBos;
  };
  const none = { post_processor: null };
  const inSequence = { post_processor: { type: 'Sequence', processors: [{ type: 'ByteLevel' }, file.post_processor] } };
  assert.equal(await prepends('always', { add_bos_token: false }, none), true);
  assert.equal(await prepends('never', { add_bos_token: true }), false);
  assert.equal(await prepends('tokenizer', { add_bos_token: true }, none), true);
  assert.equal(await prepends('tokenizer', { add_bos_token: false }), false);
  assert.equal(await prepends('tokenizer', {}), true);
  assert.equal(await prepends('tokenizer', {}, inSequence), true);
  assert.equal(await prepends('tokenizer', {}, none), false);
  // Qwen's config.json names a BOS that its tokenizer does not have, and contexts have none.
  assert.equal(await prepends('tokenizer', { bos_token: null }, none), false);
  await refuses(() => prepends('always', { bos_token: null }), 'corpus/other-tokenizer', directory);
});

test('a tokenizer that does not fit the weights is refused', async () => {
  const open = (vocabulary: number, special: [string, number[]][] = []) =>
    openTokenizer(MODEL, { bosTokenId: 2, vocabulary, special: new Map(special) });
  await refuses(() => open(4000), 'corpus/other-tokenizer', MODEL, '4096', '4000');
  await refuses(() => open(256_000), 'corpus/other-tokenizer', MODEL, '4096', '256000');
  // Rows to spare are what Gemma 3 has.
  await open(4224, [
    ['eos_token_id', [1]],
    ['pad_token_id', [0]],
  ]);
  await refuses(() => open(4096, [['eos_token_id', [1, 106]]]), 'corpus/other-tokenizer', 'eos_token_id 106');
  await refuses(() => open(4096, [['pad_token_id', [5]]]), 'corpus/other-tokenizer', 'pad_token_id 5');
});

const FILE = JSON.parse(readFileSync(join(MODEL, FILES[0]), 'utf8')) as { added_tokens: object[]; model: object };
const ADDED = FILE.added_tokens;
/** A new added token, some of its keys others. */
const added = (change: object) => ({
  ...{ id: 4096, content: 'qzx', single_word: false, lstrip: false, rstrip: false, normalized: false, special: false },
  ...change,
});

/** A directory with the bundled tokenizer, its parts replaced. */
function changed(t: Parameters<typeof temporaryDirectory>[0], change: object): string {
  const directory = temporaryDirectory(t);
  copyFileSync(join(MODEL, FILES[1]), join(directory, FILES[1]));
  writeFileSync(join(directory, FILES[0]), JSON.stringify({ ...FILE, ...change }));
  return directory;
}

test('a tokenizer with parts that our encoder lacks is left to the library, or refused by name', async (t) => {
  const expected = { bosTokenId: 2 };
  const folded = await openTokenizer(changed(t, { normalizer: { type: 'NFKC' } }), expected);
  const plain = await openTokenizer(changed(t, { normalizer: null }), expected);
  assert.deepEqual(encodeText(folded, 'ＳＥＮ', 'ate'), encodeText(plain, 'SENate'));
  // Where a text of such a tokenizer may be cut is not known.
  await refuses(() => encodeText(folded, 'a '.repeat(2 ** 20)), 'corpus/document-too-long', 'NFKC');
  for (const flag of ['single_word', 'lstrip', 'rstrip']) {
    const both = changed(t, { normalizer: { type: 'NFKC' }, added_tokens: [...ADDED, added({ [flag]: true })] });
    await refuses(() => openTokenizer(both, expected), 'corpus/unsupported-tokenizer', both, flag);
  }
});

/** Parts of a tokenizer.json that no tokenizer has so. */
const BROKEN: readonly string[] = ['merge', 'rstrip', 'special'];

test('what the library does differently from Python, or Python refuses, is refused', async (t) => {
  const split = (pattern: object, behavior: string, invert = false) => ({
    pre_tokenizer: { type: 'Split', pattern, behavior, invert },
  });
  const replace = (pattern: object, content: string) => ({ normalizer: { type: 'Replace', pattern, content } });
  const model = (change: object) => ({ model: { ...FILE.model, ...change } });
  const tokens = (...list: object[]) => ({ added_tokens: [...ADDED, ...list] });
  for (const [what, change] of [
    ['Lowercase', { normalizer: { type: 'Lowercase' } }],
    ['Strip', { normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Strip' }] } }],
    ['Replace', replace({ String: ' ' }, '$&')],
    ['Replace', replace({ Regex: ' +' }, ' ')],
    ['Punctuation', { pre_tokenizer: { type: 'Punctuation', behavior: 'Isolated' } }],
    ['FixedLength', { pre_tokenizer: { type: 'FixedLength', length: 3 } }],
    ['Split', split({ String: 'e' }, 'MergedWithPrevious')],
    ['Split', split({ String: 'e' }, 'Removed')],
    ['Split', split({ String: 'e' }, 'Isolated', true)],
    ['Split', split({ Regex: '\\s+' }, 'Isolated')],
    // A component that may be left to the library does not hide one that may not.
    ['Split', { ...split({ Regex: '\\s+' }, 'Isolated'), normalizer: { type: 'NFC' } }],
    ['dropout', { ...model({ dropout: 0.5 }), normalizer: { type: 'NFC' } }],
    ['dropout', model({ dropout: 0.5 })],
    ['prefix', model({ continuing_subword_prefix: '##' })],
    ['merge', model({ merges: ['a b', ['a', 'b']] })],
    ['version', { version: '2.0' }],
    ['number', tokens(added({ id: 5000 }))],
    ['number', tokens(added({ id: 4097 }), added({ id: 4096, content: 'other' }))],
    ['twice', tokens(added({}), added({}))],
    ['rstrip', tokens(added({ rstrip: undefined }))],
    ['special', tokens(added({ special: 1 }))],
  ] as const) {
    const directory = changed(t, change);
    const code = BROKEN.includes(what) ? 'corpus/broken-tokenizer' : 'corpus/unsupported-tokenizer';
    await refuses(() => openTokenizer(directory, { bosTokenId: 2 }), code, directory, what);
  }
});

test('a new added token has the number that follows the vocabulary', async (t) => {
  const directory = changed(t, { added_tokens: [...ADDED, added({}), added({ id: 4097, content: 'qzy' })] });
  const ids = encodeText(await openTokenizer(directory, { bosTokenId: 2 }), 'qzyqzx');
  assert.deepEqual(ids, [4097, 4096]);
});

test('a tokenizer class that is not a name is answered by the library, or refused', async (t) => {
  const directory = changed(t, {});
  writeFileSync(
    join(directory, FILES[1]),
    JSON.stringify({ ...JSON.parse(readFileSync(join(MODEL, FILES[1]), 'utf8')), tokenizer_class: { toString: 1 } }),
  );
  await refuses(() => openTokenizer(directory, { bosTokenId: 2 }), 'corpus/unsupported-tokenizer', directory);
});

test('a tokenizer that gives something other than a token is refused when it does', async (t) => {
  const directory = temporaryDirectory(t);
  copyFileSync(join(MODEL, FILES[1]), join(directory, FILES[1]));
  const whole = readFileSync(join(MODEL, FILES[0]), 'utf8');
  const json = JSON.parse(whole) as { model: { vocab: Record<string, unknown> } };
  for (const id of ['x', -1, 1.5, 2 ** 40]) {
    json.model.vocab.a = id;
    writeFileSync(join(directory, FILES[0]), JSON.stringify(json));
    await refuses(
      async () => encodeText(await openTokenizer(directory, { bosTokenId: 2 }), 'a'),
      'corpus/broken-tokenizer',
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

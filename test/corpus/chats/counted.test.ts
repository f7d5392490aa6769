import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ByteLevelEncoder } from '../../../src/corpus/bpe/byte-level.js';
import { readByteLevel } from '../../../src/corpus/bpe/byte-level-recipe.js';
import { DocumentEncoder, isPair } from '../../../src/corpus/bpe/document.js';
import { countedTokens } from '../../../src/corpus/chats/counted.js';
import { spellingOf } from '../../../src/corpus/spelling.js';
import { openTokenizer } from '../../../src/corpus/tokenizer.js';
import { Generator } from '../../../src/random/generator.js';
import { refuses } from '../../config/refuses.js';

interface Case {
  readonly name: string;
  readonly parts: object;
  readonly model: object;
  readonly added_tokens: readonly { readonly lstrip: boolean; readonly rstrip: boolean; readonly content: string }[];
}
const golden = JSON.parse(readFileSync('test/golden/byte-level.json', 'utf8')) as {
  readonly vocab: Readonly<Record<string, number>>;
  readonly merges: readonly string[];
  readonly texts: readonly string[];
  readonly cases: readonly Case[];
};

const idsOf = (document: { push(text: string): Iterable<Int32Array>; end(): Iterable<Int32Array> }, text: string) =>
  [...document.push(text), ...document.end()].flatMap((part) => [...part]);

test('tokens of bytes count where one of their bytes is within a span, in the composed text where it is that', () => {
  const random = new Generator(5);
  let seen = 0;
  for (const { parts, model, added_tokens: added } of golden.cases) {
    const bytes = { type: 'BPE', dropout: null, byte_fallback: false, vocab: golden.vocab, merges: golden.merges };
    const file = { version: '1.0', added_tokens: added, normalizer: null, ...parts, model: { ...bytes, ...model } };
    const recipe = readByteLevel(file, {})!;
    const encoder = new ByteLevelEncoder(recipe);
    const spelling = spellingOf(recipe, encoder);
    // White space that an added token strips belongs to no token.
    const takes = added.filter(({ lstrip, rstrip }) => lstrip || rstrip);
    for (const text of golden.texts) {
      const composed = recipe.composed ? text.normalize('NFC') : text;
      if (composed !== text || takes.some(({ content }) => text.includes(content))) continue;
      const from = random.below(text.length + 1);
      const to = from + random.below(text.length - from + 1);
      // Not within a character.
      if (isPair(text, from) || isPair(text, to)) continue;
      const ids = idsOf(new DocumentEncoder(encoder, ''), text);
      const counted = countedTokens({ spelling }, ids, text, [from, to], '');
      let at = 0;
      const [begin, end] = [Buffer.byteLength(text.slice(0, from)), Buffer.byteLength(text.slice(0, to))];
      const expected = ids.map((id) => {
        const start = at;
        at += String(spelling.token(id)).length;
        return Number(start < end && at > begin);
      });
      assert.equal(at, Buffer.byteLength(text), 'tokens have the bytes of the text');
      assert.deepEqual([...counted], expected, JSON.stringify(text));
      seen++;
    }
  }
  assert.ok(seen > 1000, `${seen}`);
});

test('all tokens of a character that is spelt in bytes count together, and those of other characters do not', async () => {
  const tokenizer = await openTokenizer('assets/tiny-gemma', { bosTokenId: 2 });
  const text = 'x 😀 y';
  const ids = idsOf(tokenizer.begin(''), text);
  const counted = countedTokens(tokenizer, ids, text, [2, 4], '');
  const bytes = ids.map((id) => typeof tokenizer.spelling!.token(id) === 'number');
  assert.equal(bytes.filter(Boolean).length, 4);
  assert.deepEqual([...counted].map(Boolean), bytes);
});

test('where it is not known which characters tokens are of, roles are refused', async () => {
  await refuses(() => countedTokens({}, [1], 'x', [0, 1], 'c:1'), 'corpus/roles-of-tokenizer', '--roles');
  const { spelling } = await openTokenizer('assets/tiny-gemma', { bosTokenId: 2 });
  await refuses(() => countedTokens({ spelling }, [1], 'x', [0, 1], 'c:1'), 'corpus/roles-of-tokens', 'c:1');
});

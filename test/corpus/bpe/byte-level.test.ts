import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ByteLevelEncoder } from '../../../src/corpus/bpe/byte-level.js';
import { readByteLevel } from '../../../src/corpus/bpe/byte-level-recipe.js';
import { UnknownPart } from '../../../src/corpus/bpe/recipe.js';
import { openTokenizer } from '../../../src/corpus/tokenizer.js';
import type { BosPolicy } from '../../../src/lm/family.js';
import { Generator } from '../../../src/random/generator.js';
import { temporaryDirectory } from '../../temporary.js';
import { encodePieces, piecesOf } from './tokenizers.js';

interface Case {
  readonly name: string;
  readonly parts: Readonly<Record<string, unknown>>;
  readonly model: Readonly<Record<string, unknown>>;
  readonly added_tokens: readonly unknown[];
  readonly ids: readonly number[][];
}

const GOLDEN = JSON.parse(readFileSync('test/golden/byte-level.json', 'utf8')) as {
  readonly vocab: Readonly<Record<string, number>>;
  readonly merges: readonly string[];
  readonly texts: readonly string[];
  readonly cases: readonly Case[];
};

/** The tokenizer.json of a case, as scripts/golden_byte_level.py makes it. */
function fileOf({ parts, model, added_tokens }: Omit<Case, 'name' | 'ids'>) {
  const { vocab, merges } = GOLDEN;
  const bytes = { type: 'BPE', dropout: null, byte_fallback: false, vocab, merges, ...model };
  return { version: '1.0', added_tokens, normalizer: null, ...parts, model: bytes };
}

const encoderOf = (one: Case) => new ByteLevelEncoder(readByteLevel(fileOf(one), {})!);

for (const one of GOLDEN.cases) {
  test(`${one.name}: tokens are those of Hugging Face's tokenizers`, () => {
    assert.ok(GOLDEN.texts.length >= 300);
    const encoder = encoderOf(one);
    for (const [i, text] of GOLDEN.texts.entries()) {
      assert.deepEqual(encodePieces(encoder, [text]), one.ids[i], JSON.stringify(text));
    }
  });

  test(`${one.name}: a text that comes in pieces and is cut into windows has the same tokens`, () => {
    const encoder = encoderOf(one);
    const random = new Generator(5);
    // Joined by characters that no token spans.
    const text = GOLDEN.texts.join(' . x y . ');
    const whole = encodePieces(encoder, [text]);
    for (const window of [64, 300]) {
      for (let trial = 0; trial < 3; trial++) {
        assert.deepEqual(encodePieces(encoder, piecesOf(text, random, 50), window), whole, `window ${window}`);
      }
    }
    // Every place that may be cut keeps the tokens.
    for (const [i, some] of GOLDEN.texts.entries()) {
      const ids = one.ids[i]!;
      for (let at = 1; at < some.length; at++) {
        if (!encoder.mayCut(some, at)) continue;
        const parts = [some.slice(0, at), some.slice(at)].flatMap((part) => encodePieces(encoder, [part]));
        assert.deepEqual(parts, ids, JSON.stringify([some, at]));
      }
    }
  });
}

test('an early file that does not name its model, or how it splits, is read', () => {
  const gpt2 = GOLDEN.cases.find(({ name }) => name === 'gpt2')!;
  const file = fileOf(gpt2);
  const { type: _, ...model } = file.model as Record<string, unknown>;
  const pre_tokenizer = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true };
  const early = { ...file, pre_tokenizer, model: { ...model, unk_token: '<|endoftext|>', fuse_unk: false } };
  const encoder = new ByteLevelEncoder(readByteLevel(early, { model_max_length: 1024 })!);
  for (const [i, text] of GOLDEN.texts.entries()) assert.deepEqual(encodePieces(encoder, [text]), gpt2.ids[i], text);
});

test('a run without a place to cut is held in memory', () => {
  const encoder = encoderOf(GOLDEN.cases[0]!);
  const row = 'ab'.repeat(5000);
  const whole = encodePieces(encoder, [row]);
  assert.deepEqual(encodePieces(encoder, [row], 64), whole);
});

test('unknown components are refused by name', () => {
  const gpt2 = GOLDEN.cases.find(({ name }) => name === 'gpt2')!;
  const llama3 = GOLDEN.cases.find(({ name }) => name === 'llama3')!;
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const split = (Regex: string, more = {}) => ({
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false, ...more },
        { ...bytes, use_regex: false },
      ],
    },
  });
  for (const [one, parts, config] of [
    [gpt2, { pre_tokenizer: { ...bytes, add_prefix_space: true } }, {}],
    [gpt2, { pre_tokenizer: { ...bytes, use_regex: false } }, {}],
    [gpt2, { normalizer: { type: 'Lowercase' } }, {}],
    [gpt2, split('\\w+'), {}],
    [llama3, split('\\p{N}', { behavior: 'Removed' }), {}],
    [gpt2, {}, { tokenizer_class: 'RobertaTokenizer' }],
    [gpt2, {}, { add_prefix_space: true }],
  ] as const) {
    const file = fileOf({ ...one, parts: { ...one.parts, ...parts } });
    assert.throws(() => readByteLevel(file, config), UnknownPart, JSON.stringify(parts));
  }
  const { a: _, ...lacking } = GOLDEN.vocab;
  const file = fileOf(gpt2);
  assert.throws(() => readByteLevel({ ...file, model: { ...file.model, vocab: lacking } }, {}), UnknownPart);
});

test('BOS that tokenizer_config.json does not name is that of the model, where the tokenizer has it', async (t) => {
  const gpt2 = GOLDEN.cases.find(({ name }) => name === 'gpt2')!;
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'tokenizer.json'), JSON.stringify(fileOf(gpt2)));
  writeFileSync(join(directory, 'tokenizer_config.json'), '{"model_max_length": 1024}');
  const end = (gpt2.added_tokens[0] as { id: number }).id;
  const open = (bosTokenId: number, bos: BosPolicy) => openTokenizer(directory, { bosTokenId, bos });
  assert.deepEqual([(await open(end, 'always')).bosTokenId, (await open(end, 'always')).prependBos], [end, true]);
  assert.equal((await open(end, 'tokenizer')).prependBos, false);
  await assert.rejects(open(3, 'always'), /BOS is no token/);
});

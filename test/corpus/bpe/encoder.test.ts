import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PreTrainedTokenizer } from '@huggingface/transformers';
import { BpeEncoder } from '../../../src/corpus/bpe/encoder.js';
import { readRecipe } from '../../../src/corpus/bpe/recipe.js';
import { readDocuments } from '../../../src/corpus/documents.js';
import { Refusal } from '../../../src/errors/refusal.js';
import { Generator } from '../../../src/random/generator.js';
import { CONFIG, type Edits, edited, encodePieces, GOLDEN, piecesOf, randomText } from './tokenizers.js';

const open = (edits: Edits) => new BpeEncoder(readRecipe(edited(edits), CONFIG));
/** The slow, obvious twin. It disagrees with Python about single_word, and about white space that tokens take. */
const twin = (edits: Edits) => {
  const library = new PreTrainedTokenizer(edited(edits), CONFIG);
  return (text: string) => library.encode(text, { add_special_tokens: false });
};
const TWINS = GOLDEN.cases.filter(({ name }) => !/single|white/.test(name));

for (const { name, edits, ids } of GOLDEN.cases) {
  test(`${name}: the tokens are those of Hugging Face's tokenizers`, () => {
    const encoder = open(edits);
    for (const [i, text] of GOLDEN.texts.entries()) {
      assert.deepEqual(encodePieces(encoder, [text]), ids[i], JSON.stringify(text));
    }
  });

  test(`${name}: a text in pieces has the tokens of the whole, however small the window`, () => {
    const encoder = open(edits);
    const random = new Generator(5);
    for (let k = 0; k < 300; k++) {
      const text = randomText(random, 120);
      const window = 40 + random.below(60);
      const whole = encodePieces(encoder, [text]);
      const pieces = piecesOf(text, random, 1 + random.below(30));
      assert.deepEqual(encodeOrRefuse(encoder, pieces, window) ?? whole, whole, `${JSON.stringify(text)} by ${window}`);
    }
  });
}

/** A text that cannot be cut is refused, never tokenized wrongly. */
function encodeOrRefuse(encoder: BpeEncoder, pieces: string[], window: number): number[] | undefined {
  try {
    return encodePieces(encoder, pieces, window);
  } catch (error) {
    assert.ok(error instanceof Refusal, String(error));
    return undefined;
  }
}

for (const { name, edits } of TWINS) {
  test(`${name}: random texts have the tokens of transformers.js`, () => {
    const [encoder, library] = [open(edits), twin(edits)];
    const random = new Generator(3);
    for (let k = 0; k < 300; k++) {
      const text = randomText(random, 80);
      assert.deepEqual(encodePieces(encoder, [text]), library(text), JSON.stringify(text));
    }
  });
}

test('the bundled text has the tokens of transformers.js, as the tokenizer is and as that of Gemma 3', async () => {
  const cases = [{}, GOLDEN.cases.find(({ name }) => name === 'gemma3')!.edits];
  const texts: string[] = [];
  for await (const { pieces } of readDocuments('assets/corpus/validation.jsonl.gz', 'text')) {
    let text = '';
    for await (const piece of pieces) text += piece;
    if (texts.push(text.slice(0, 4000)) === 20) break;
  }
  for (const edits of cases) {
    const [encoder, library] = [open(edits), twin(edits)];
    for (const text of texts) assert.deepEqual(encodePieces(encoder, [text], 300), library(text), text.slice(0, 60));
  }
});

test('no token of the vocabulary spans a place where a text may be cut', () => {
  for (const { name, edits } of GOLDEN.cases) {
    const encoder = open(edits);
    const recipe = readRecipe(edited(edits), CONFIG);
    const made = new Set<number>(recipe.added.map(({ id }) => id));
    for (let i = 2; i < recipe.merges.length; i += 3) made.add(recipe.merges[i]!);
    const texts = new Map([...recipe.vocabulary, ...recipe.added.map(({ id, content }) => [content, id] as const)]);
    let places = 0;
    for (const [token, id] of texts) {
      if (!made.has(id)) continue;
      // The text that a token stands for has spaces where the vocabulary has ▁; both can be written.
      for (const text of [token, token.replaceAll('▁', ' ')]) {
        for (let at = 1; at < text.length; at++) {
          places++;
          const isWordStart = name !== 'gemma3' && recipe.wordStart !== null && /[▁ ]/.test(text[at]!);
          if (!isWordStart) assert.ok(!encoder.mayCut(text, at), `${name}: ${JSON.stringify(text)} at ${at}`);
        }
      }
    }
    assert.ok(places > 10_000);
  }
});

test('a character is never cut in two', () => {
  const encoder = open({});
  assert.ok(!encoder.mayCut('😀', 1));
  assert.deepEqual(encodePieces(encoder, ['😀'.repeat(50)], 41), encodePieces(encoder, ['😀'.repeat(50)]));
});

test('rows in which no place is safe are cut between tokens that stay as they are', () => {
  for (const { name, edits } of GOLDEN.cases) {
    const encoder = open(edits);
    for (const part of ['a', ' ', '=', 'ab', 'aba', '\n', '😀', 'é', 'end', '> </', '<bos>', 'λόγος', 'Senate']) {
      const text = `x${part.repeat(2000)}y`;
      const whole = encodePieces(encoder, [text]);
      assert.deepEqual(encodeOrRefuse(encoder, [text], 256) ?? whole, whole, `${name}: ${part}`);
      if (!/single|white|within/.test(name)) assert.deepEqual(encodePieces(encoder, [text], 256), whole);
    }
  }
});

test('a lone surrogate is the bytes of U+FFFD, as in transformers.js', () => {
  const text = 'a\ud800b \udc00\ud800 \ud800';
  assert.deepEqual(encodePieces(open({}), [text]), twin({})(text));
});

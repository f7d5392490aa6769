import assert from 'node:assert/strict';
import { test } from 'node:test';
import { piecesOf } from '../../src/corpus/pieces.js';
import { openTokenizer } from '../../src/corpus/tokenizer.js';
import { Generator } from '../../src/random/generator.js';

const random = new Generator(9);
const WORDS = ['a ', 'Senate', ' ', '  ', '\n', 'λόγος', '😀😀', 'x'.repeat(30), ', '];
const text = Array.from(
  { length: 3000 },
  () => `${WORDS[random.below(WORDS.length)]}${' '.repeat(random.below(2))}`,
).join('');

test('pieces are the text, none is longer than asked for, and they are cut before spaces where there are any', () => {
  for (const longest of [100, 1000, text.length - 1, text.length]) {
    const pieces = [...piecesOf(text, longest)];
    assert.equal(pieces.join(''), text);
    for (const [i, piece] of pieces.entries()) {
      assert.ok(piece.length <= longest && piece.length > 0);
      // Of a hundred characters, half may well hold no space.
      if (i === 0 || longest === 100) continue;
      assert.match(piece, /^ /);
      assert.doesNotMatch(pieces[i - 1]!, / $/);
    }
  }
  assert.deepEqual([...piecesOf('', 10)], ['']);
});

test('without spaces a piece is as long as asked for, and no character is cut in two', () => {
  assert.deepEqual([...piecesOf('abcdefg', 3)], ['abc', 'def', 'g']);
  assert.deepEqual([...piecesOf('a😀😀b', 2)], ['a', '😀', '😀', 'b']);
  assert.deepEqual([...piecesOf('\ud800\ud800\ud800', 1)], ['\ud800', '\ud800', '\ud800']);
});

test('a text that is encoded in pieces has the tokens of the whole', async () => {
  const [whole, pieced] = [
    await openTokenizer('assets/tiny-gemma', 2),
    await openTokenizer('assets/tiny-gemma', 2, 200),
  ];
  const ids = whole.encode(text);
  assert.ok(ids.length > 3000);
  assert.deepEqual(pieced.encode(text), ids);
});

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { tokenTexts } from '../../src/corpus/token-texts.js';
import { temporaryDirectory } from '../temporary.js';

test('tokens of SentencePiece kinds are shown with spaces, bytes by their numbers', async () => {
  const texts = await tokenTexts('assets/tiny-gemma', 4100);
  assert.equal(texts.length, 4100);
  assert.ok(texts.includes(' the') && texts.includes('<bos>') && texts.includes('<0xE2>'));
  assert.ok(texts.every((text) => !text.includes('▁')));
  assert.equal(texts[4099], '<token 4099>');
});

test('tokens of byte-level kinds are text where they are UTF-8, else bytes', async (t) => {
  const directory = temporaryDirectory(t);
  const tokenizer = {
    decoder: { type: 'Sequence', decoders: [{ type: 'ByteLevel' }] },
    // " the", the first two bytes of a character of three, "é" and a byte that is none, a newline.
    model: { vocab: { Ġthe: 0, âĤ: 1, 'Ã©ÿ': 2, Ċ: 3, '<script>': 4 } },
    added_tokens: [{ id: 6, content: '<|Ġ|>', special: true }],
  };
  writeFileSync(join(directory, 'tokenizer.json'), JSON.stringify(tokenizer));
  assert.deepEqual(await tokenTexts(directory, 7), [
    ...[' the', '<0xE2><0x82>', 'é<0xFF>', '\n', '<script>', '<token 5>', '<|Ġ|>'],
  ]);
});

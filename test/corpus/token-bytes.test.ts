import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { StreamedText, tokenBytes } from '../../src/corpus/token-bytes.js';
import { openTokenizer } from '../../src/corpus/tokenizer.js';
import { temporaryDirectory } from '../temporary.js';

const TEXTS = [
  'Once upon a time, two  spaces\n\nand a tab\t.',
  'é ü 漢字 🙂👩‍👩‍👧 \u0000 İ',
  '  leading',
  '▁ is a character',
];

/** The text of a text's tokens, piece by piece. */
async function thereAndBack(directory: string, text: string): Promise<string> {
  const tokenizer = await openTokenizer(directory, { bosTokenId: -1, bos: 'never' });
  const document = tokenizer.begin('the text');
  const ids = [...document.push(text), ...document.end()].flatMap((part) => [...part]);
  const streamed = new StreamedText(await tokenBytes(directory));
  return ids.map((id) => streamed.push(id)).join('') + streamed.end();
}

test('the bundled tokenizer: text comes back, of bytes that came one by one, too', async () => {
  for (const text of TEXTS) {
    assert.equal(await thereAndBack('assets/tiny-gemma', text), text.replaceAll('▁', ' '), text);
  }
});

test('byte-level tokens: text comes back', async () => {
  const directory = temporaryDirectory();
  // A token for each byte, and two for several.
  const characters: string[] = [];
  let beyond = 0;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    characters.push(String.fromCharCode(printable ? byte : 256 + beyond++));
  }
  const vocab = Object.fromEntries([...characters, 'ab', 'Ġa'].map((token, id) => [token, id]));
  const file = {
    added_tokens: [{ id: 258, content: '<end>', special: true }],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab, merges: ['a b', 'Ġ a'] },
  };
  writeFileSync(join(directory, 'tokenizer.json'), JSON.stringify(file));
  const bytes = await tokenBytes(directory);
  const streamed = new StreamedText(bytes);
  const ids = [...Buffer.from('é🙂')];
  // Nothing before the last byte of a character.
  assert.deepEqual(
    ids.map((id) => streamed.push(id)),
    ['', 'é', '', '', '', '🙂'],
  );
  assert.equal([257, 256, 258].map((id) => streamed.push(id)).join(''), ' aab<end>');
  streamed.push(0xc3);
  assert.equal(streamed.end(), '\ufffd');
  assert.deepEqual(bytes(999), new Uint8Array(0));
});

test('tokens that are added and not special write their text', async () => {
  const directory = temporaryDirectory();
  const file = JSON.parse(readFileSync('assets/tiny-gemma/tokenizer.json', 'utf8')) as { added_tokens: object[] };
  file.added_tokens.push({ id: 4096, content: '▁▁x', special: false }, { id: 4097, content: '<▁>', special: true });
  writeFileSync(join(directory, 'tokenizer.json'), JSON.stringify(file));
  const bytes = await tokenBytes(directory);
  assert.equal(Buffer.from(bytes(4096)).toString(), '  x');
  assert.equal(Buffer.from(bytes(4097)).toString(), '<▁>');
});

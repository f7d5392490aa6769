import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  batches,
  batchTokens,
  type Context,
  countActivations,
  leftOutTokens,
  packContexts,
  rowsPerContext,
} from '../../src/corpus/contexts.js';
import { readDocuments } from '../../src/corpus/documents.js';
import { openTokenizer, type Tokenizer } from '../../src/corpus/tokenizer.js';
import { Generator } from '../../src/random/generator.js';
import { readSafetensorsHeader } from '../../src/safetensors/file.js';
import { readTensorBytes } from '../../src/safetensors/floats.js';
import { refuses } from '../config/refuses.js';

const BOS = 1;
/** One token per letter, a = 10; a ^ in the text is a BOS written out. */
const letters: Tokenizer = {
  bosTokenId: BOS,
  prependBos: true,
  special: new Map([
    [BOS, '^'],
    [10, 'a'],
  ]),
  added: new Map(),
  vocabulary: 100,
  begin: () => ({
    push: (piece) => [Int32Array.from([...piece], (letter) => (letter === '^' ? BOS : 10 + letter.charCodeAt(0) - 97))],
    end: () => [],
  }),
};

async function pack(texts: readonly string[], length: number, tokenizer = letters): Promise<Context[]> {
  const contexts: Context[] = [];
  const documents = texts.map((text) => ({ pieces: [text], source: '' }));
  for await (const context of packContexts(documents, tokenizer, length)) contexts.push(context);
  return contexts;
}
/** Tokens as letters, BOS as ^. */
const spelt = ({ tokens }: Context) =>
  [...tokens].map((token) => (token === BOS ? '^' : String.fromCharCode(97 + token - 10))).join('');

test('the packing of the first contexts of the bundled text is that of the PyTorch reference', async () => {
  const { tensors } = await readSafetensorsHeader('test/golden/tiny-gemma.safetensors');
  const golden = async (name: string) => new Int32Array((await readTensorBytes(tensors.get(name)!)).buffer);
  const [tokens, documents] = [await golden('tokens'), await golden('document')];
  const corpus = readDocuments('assets/corpus/validation.jsonl.gz', 'text');
  let count = 0;
  for await (const context of packContexts(corpus, await openTokenizer('assets/tiny-gemma', { bosTokenId: 2 }), 256)) {
    const range = [count * 256, (count + 1) * 256] as const;
    assert.equal(context.index, count);
    assert.deepEqual([...context.tokens], [...tokens.subarray(...range)], `tokens of context ${count}`);
    assert.deepEqual([...context.documents], [...documents.subarray(...range)], `documents of context ${count}`);
    if (++count === 20) break;
  }
  assert.equal(count, 20);
});

test('documents are concatenated, each beginning with BOS, and BOS is prepended where a cut falls within one', async () => {
  // The stream: ^abc^defghi
  const contexts = await pack(['abc', 'defghi'], 6);
  assert.deepEqual(contexts.map(spelt), ['^abc^d', '^efghi']);
  assert.deepEqual(
    contexts.map(({ documents }) => [...documents]),
    [
      [0, 0, 0, 0, 1, 1],
      [1, 1, 1, 1, 1, 1],
    ],
  );
  assert.deepEqual(
    contexts.map(({ index }) => index),
    [0, 1],
  );
});

test("a cut exactly before a document's BOS puts none in front", async () => {
  const contexts = await pack(['abc', 'def', 'ghi'], 4);
  assert.deepEqual(contexts.map(spelt), ['^abc', '^def', '^ghi']);
  assert.deepEqual(
    contexts.map(({ documents }) => documents[0]),
    [0, 1, 2],
  );
});

test('a cut exactly before a BOS written out in the text prepends none', async () => {
  assert.deepEqual((await pack(['abc^defg'], 4)).map(spelt), ['^abc', '^def']);
});

test('a cut one token before or after a document begins does', async () => {
  assert.deepEqual((await pack(['abcd', 'ef'], 4)).map(spelt), ['^abc', '^d^e']);
  assert.deepEqual((await pack(['ab', 'cdefg'], 4)).map(spelt), ['^ab^', '^cde']);
});

test('an inserted BOS belongs to the document of the token after it', async () => {
  const [, second] = await pack(['ab', 'cdefg'], 4);
  assert.deepEqual([...second!.documents], [1, 1, 1, 1]);
});

test('empty documents add nothing, but are counted', async () => {
  const contexts = await pack(['', 'abc', '', '', 'def', ''], 4);
  assert.deepEqual(contexts.map(spelt), ['^abc', '^def']);
  assert.deepEqual(
    contexts.map(({ documents }) => documents[1]),
    [1, 4],
  );
});

test('a BOS that a text begins with is left out, and special tokens elsewhere are counted', async () => {
  const written = { documents: 0, tokens: new Map<number, number>() };
  const contexts: Context[] = [];
  const documents = ['^abc', '^^def^a', '^', 'bcd'].map((text) => ({ pieces: [...text], source: '' }));
  for await (const context of packContexts(documents, letters, 4, written)) contexts.push(context);
  assert.deepEqual(contexts.map(spelt), ['^abc', '^def', '^a^b']);
  assert.deepEqual(
    contexts.map(({ documents }) => [...documents]),
    [
      [0, 0, 0, 0],
      [1, 1, 1, 1],
      [1, 1, 3, 3],
    ],
  );
  assert.equal(written.documents, 3);
  assert.deepEqual(
    [...written.tokens],
    [
      [10, 2],
      [BOS, 1],
    ],
  );
});

test('where no BOS is prepended, contexts are the documents end to end, and one written out is a token like others', async () => {
  const contexts = await pack(['abc', '', '^de', 'f^ghij'], 4, { ...letters, prependBos: false });
  assert.deepEqual(contexts.map(spelt), ['abc^', 'def^', 'ghij']);
  assert.deepEqual(
    contexts.map(({ documents }) => [...documents]),
    [
      [0, 0, 0, 2],
      [2, 2, 3, 3],
      [3, 3, 3, 3],
    ],
  );
  assert.deepEqual([rowsPerContext(4, false), rowsPerContext(4, true)], [4, 3]);
  // All of its positions count.
  const all = leftOutTokens(null);
  assert.deepEqual(
    contexts.map((context) => countActivations(context, all)),
    [4, 4, 4],
  );
  assert.equal(countActivations(contexts[0]!, leftOutTokens(null, [BOS])), 3);
});

test('a last piece that fills no context is left out', async () => {
  assert.deepEqual((await pack(['abcdefg'], 4)).map(spelt), ['^abc', '^def']);
  assert.deepEqual(await pack(['ab'], 4), []);
  assert.deepEqual(await pack([], 4), []);
});

test('the contexts are the stream of the corpus and nothing else, whatever its documents and their length', async () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = new Generator(seed);
    const length = 2 + random.below(9);
    const texts = Array.from({ length: random.below(12) }, () =>
      Array.from({ length: random.below(15) }, () => 'abc^'[random.below(4)]).join(''),
    );
    const stream = texts.flatMap((text, document) =>
      /^\^*$/.test(text)
        ? []
        : [`^${document}`, ...[...text.replace(/^\^+/, '')].map((letter) => `${letter}${document}`)],
    );
    let at = 0;
    for (const context of await pack(texts, length)) {
      const found = [...spelt(context)].map((letter, i) => `${letter}${context.documents[i]}`);
      assert.equal(found.length, length);
      assert.equal(found[0]![0], '^');
      // Unless the stream continues with a BOS, the first one is not from the stream.
      const inserted = stream[at]![0] === '^' ? 0 : 1;
      assert.deepEqual(found.slice(inserted), stream.slice(at, at + length - inserted), `seed ${seed}`);
      at += length - inserted;
    }
    const left = stream.slice(at);
    assert.ok(left.length + (left[0]?.[0] === '^' ? 0 : 1) < length, `seed ${seed}: ${left.length} tokens left`);
  }
});

test('contexts do not share memory', async () => {
  const [first, second] = await pack(['abc', 'def'], 4);
  assert.notEqual(first!.tokens.buffer, second!.tokens.buffer);
  assert.notEqual(first!.documents.buffer, second!.documents.buffer);
});

test('contexts are grouped in order, the last group holding what is left', async () => {
  async function* contexts() {
    yield* await pack(['abc', 'def', 'ghi', 'jkl', 'mno'], 4);
  }
  const groups: number[][] = [];
  for await (const group of batches(contexts(), 2)) groups.push(group.map(({ index }) => index));
  assert.deepEqual(groups, [[0, 1], [2, 3], [4]]);
  groups.length = 0;
  for await (const group of batches(contexts(), 5)) groups.push(group.map(({ index }) => index));
  assert.deepEqual(groups, [[0, 1, 2, 3, 4]]);
});

test('the tokens of a batch are stored context after context', async () => {
  const batch = await pack(['ab', 'cd'], 3);
  assert.deepEqual([...batchTokens(batch, 14)], [1n, 10n, 11n, 1n, 12n, 13n]);
});

test('a token beyond the vocabulary is refused', async () => {
  const batch = await pack(['ab', 'cd'], 3);
  await refuses(() => batchTokens(batch, 13), 'corpus/token-outside-vocabulary', 'token 13', 'vocabulary has only 13');
});

test('activations are counted where the token is not BOS, inserted, leading or written out', async () => {
  const counts = (await pack(['abc', 'd^e', 'fghijk'], 4)).map((context) => countActivations(context, BOS));
  assert.deepEqual(counts, [3, 2, 3, 3]);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Context, type Document, packContexts } from '../../src/corpus/contexts.js';
import { ReadTally } from '../../src/corpus/read-tally.js';
import { openTokenizer } from '../../src/corpus/tokenizer.js';
import { LiveText } from '../../src/harvest/live-text.js';

const tokenizer = openTokenizer('assets/tiny-gemma', { bosTokenId: 2 });
const ids = (corpus: number, ...tokens: number[]): Document => ({
  ...{ pieces: [], ids: [Int32Array.from(tokens)], source: 'ids', corpus },
});

/** One reading of two corpora: three documents, of which the last came before and is cut. */
async function reading(): Promise<Context[]> {
  const documents = [ids(0, 10, 11, 12), ids(1, 20, 21, 22, 23, 24, 25), ids(1, 10, 11, 12), ids(0, 30, 31, 32, 33)];
  const contexts = [];
  for await (const one of packContexts(documents, await tokenizer, 4, undefined, new ReadTally(2))) contexts.push(one);
  return contexts;
}

test('what a running model has read is counted by corpus, over all readings of the text', async () => {
  const text = new LiveText(['a', 'b']);
  text.add(await reading());
  const once = text.soFar();
  const figures = ({ corpora = [] }: typeof once) =>
    corpora.map((one) => [one.corpus, one.documents, one.tokens, one.duplicates, one.truncated]);
  assert.deepEqual(figures(once), [
    ['a', 2, 6, 0, 1],
    ['b', 2, 9, 1, 0],
  ]);
  const again = await reading();
  text.add(again.slice(0, 1));
  text.add(again.slice(1));
  assert.deepEqual(figures(text.soFar()), [
    ['a', 4, 12, 0, 2],
    ['b', 4, 18, 2, 0],
  ]);
  assert.notEqual(text.soFar().sha256, once.sha256);
});

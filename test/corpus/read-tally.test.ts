import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Context, type Document, packContexts } from '../../src/corpus/contexts.js';
import { corporaRead, ReadTally, readInWords } from '../../src/corpus/read-tally.js';
import { openTokenizer } from '../../src/corpus/tokenizer.js';

const tokenizer = openTokenizer('assets/tiny-gemma', { bosTokenId: 2 });

const ids = (corpus: number, ...tokens: number[]): Document => ({
  ...{ pieces: [], ids: [Int32Array.from(tokens)], source: 'ids', corpus },
});

async function packed(documents: readonly Document[], length: number, tally?: ReadTally): Promise<Context[]> {
  const contexts: Context[] = [];
  for await (const context of packContexts(documents, await tokenizer, length, undefined, tally))
    contexts.push(context);
  return contexts;
}

/** What each context says was read by its end: documents, tokens, duplicates and truncated documents of each corpus. */
async function read(documents: readonly Document[], length: number, corpora = 1): Promise<number[][][]> {
  const contexts = await packed(documents, length, new ReadTally(corpora));
  const names = Array.from({ length: corpora }, (_, i) => `corpus ${i}`);
  return contexts.map((context) =>
    corporaRead(context.read!, names).map((one) => [one.documents, one.tokens, one.duplicates, one.truncated]),
  );
}

test('each context records what was read up to its end, and a document that it ends with is complete', async () => {
  const rows = [ids(0, 10, 11, 12), ids(0, 20, 21, 22), ids(0), ids(0, 10, 11, 12)];
  // BOS and three tokens each.
  assert.deepEqual(await read(rows, 4), [[[1, 3, 0, 0]], [[2, 6, 0, 0]], [[3, 9, 1, 0]]]);
  // [2 10 11] [2 12 2] [2 20 21] [2 22 2] [2 10 11]: a BOS in front is not a token of a document.
  assert.deepEqual(
    (await read(rows, 3)).map(([one]) => one!.slice(0, 4)),
    [
      [1, 2, 0, 1],
      [1, 3, 0, 0],
      [2, 5, 0, 1],
      [2, 6, 0, 0],
      [3, 8, 0, 1],
    ],
  );
});

test('duplicates are found across corpora, whatever pieces a text came in, and counted for the later one', async () => {
  const text = (corpus: number, ...pieces: string[]): Document => ({ pieces, source: 'text', corpus });
  const documents = [text(0, 'the same words'), text(1, 'the ', 'same words'), text(1, 'other words'), text(0, '')];
  const last = (await read([...documents, text(1, 'words to fill a context'), text(0, 'the same words')], 5, 2)).at(
    -1,
  )!;
  assert.deepEqual([last[0]![0], last[1]![0]], [2, 3]);
  assert.equal(last[1]![2], 1);
});

test('contexts are the same whether what is read is counted or not', async () => {
  const documents = [[5, 6, 7], [8], [], [9, 10, 11, 12, 13, 14], [2, 15]].map((row) => ids(0, ...row));
  for (const length of [2, 3, 4, 7]) {
    const plain = await packed(documents, length);
    const counted = await packed(documents, length, new ReadTally(1));
    assert.deepEqual(
      counted.map(({ read: _, ...context }) => context),
      plain,
    );
  }
});

test('many documents are remembered exactly', async () => {
  const rows = Array.from({ length: 30_000 }, (_, i) => ids(0, 100 + (i % 100), 100 + Math.floor((i % 20_000) / 100)));
  const [figures] = (await read(rows, 3)).at(-1)!;
  assert.deepEqual(figures, [30_000, 60_000, 10_000, 0]);
  const said = readInWords([{ corpus: 'a', documents: 3, tokens: 9, duplicates: 1, truncated: 1 }]);
  assert.equal(said.length, 1);
  for (const word of ['a:', '9 tokens', '3 documents', '1 of them', '1 is a copy']) assert.ok(said[0]!.includes(word));
});

test('a context that is full when its document breaks is given before the refusal', async () => {
  const broken = async function* () {
    yield Int32Array.from([10, 11, 12]);
    throw new Error('broken');
  };
  const found: number[][] = [];
  const read = async () => {
    const documents = [{ pieces: [], ids: broken(), source: 'ids' }];
    for await (const { tokens } of packContexts(documents, await tokenizer, 4)) found.push([...tokens]);
  };
  await assert.rejects(read, /broken/);
  assert.deepEqual(found, [[2, 10, 11, 12]]);
});

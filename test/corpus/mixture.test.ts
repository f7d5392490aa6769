import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Document } from '../../src/corpus/contexts.js';
import { checkMixture, corpusName, interleaved, mixtureOf } from '../../src/corpus/mixture.js';
import { shuffled } from '../../src/corpus/shuffled.js';
import { Generator } from '../../src/random/generator.js';
import { refuses, refusesUsage } from '../config/refuses.js';

/** Documents of random lengths; a character is a token. */
async function* documents(name: string, count: number, longest: number, seed: number): AsyncGenerator<Document> {
  const random = new Generator(seed);
  for (let i = 0; i < count; i++) {
    yield { pieces: [name.repeat(random.below(longest + 1))], source: `${name}${i}` };
  }
}

interface Taken {
  readonly order: readonly string[];
  readonly corpora: readonly number[];
  readonly said: readonly string[];
  /** Tokens of each corpus after each document. */
  readonly tokens: readonly (readonly number[])[];
}

async function mixed(
  sources: readonly { name: string; weight: number; count: number; longest: number }[],
  { stop, seed = 1, most = Number.POSITIVE_INFINITY }: { stop?: 'first'; seed?: number; most?: number } = {},
): Promise<Taken> {
  const said: string[] = [];
  const of = sources.map(({ name, weight, count, longest }, i) => ({
    ...{ corpus: name, weight, documents: documents(name, count, longest, i) },
  }));
  const [order, corpora, tokens]: [string[], number[], number[][]] = [[], [], []];
  const sums = sources.map(() => 0);
  for await (const document of interleaved(of, stop, new Generator(seed), (line) => said.push(line))) {
    const [text] = document.pieces as string[];
    order.push(document.source);
    corpora.push(document.corpus!);
    sums[document.corpus!]! += text!.length;
    tokens.push([...sums]);
    document.measured!(text!.length);
    if (order.length === most) break;
  }
  return { order, corpora, said, tokens };
}

const THREE = [
  { name: 'a', weight: 5, count: 4000, longest: 100 },
  { name: 'b', weight: 2, count: 4000, longest: 1000 },
  { name: 'c', weight: 1, count: 4000, longest: 20 },
];

test('at every point the tokens of each corpus are in proportion to its weight, to within the longest documents', async () => {
  const { tokens } = await mixed(THREE, { most: 3000 });
  for (const sums of tokens) {
    const all = sums.reduce((a, b) => a + b, 0);
    for (const [i, { weight }] of THREE.entries()) {
      assert.ok(Math.abs(sums[i]! - (weight / 8) * all) <= 1120, `${sums} of corpus ${i}`);
    }
  }
});

test('the seed decides the order, and documents of one corpus keep theirs', async () => {
  const [one, again, other] = [await mixed(THREE), await mixed(THREE), await mixed(THREE, { seed: 2 })];
  assert.deepEqual(one, again);
  assert.notDeepEqual(one.order, other.order);
  const ofA = one.order.filter((source) => source.startsWith('a'));
  assert.deepEqual(
    ofA,
    ofA.map((_, i) => `a${i}`),
  );
});

test('when a corpus ends the others share its weight, with a message; or the mixture ends with it', async () => {
  const sources = [{ name: 'short', weight: 1, count: 50, longest: 10 }, ...THREE];
  const { said, order, tokens } = await mixed(sources, { most: 6000 });
  assert.equal(said.length, 1);
  assert.match(said[0]!, /^short has ended/);
  const ended = order.lastIndexOf('short49');
  const later = tokens.at(-1)!.map((sum, i) => sum - tokens[ended]![i]!);
  const all = later.reduce((a, b) => a + b, 0);
  for (const [i, { weight }] of THREE.entries()) assert.ok(Math.abs(later[i + 1]! - (weight / 8) * all) <= 2240);
  const first = await mixed(sources, { stop: 'first' });
  assert.deepEqual(first.order, order.slice(0, first.order.length));
  assert.ok(first.order.includes('short49') && first.order.length < 6000);
  assert.match(first.said[0]!, /--mixture-stop first/);
  const whole = await mixed(sources);
  assert.equal(new Set(whole.order).size, 50 + 3 * 4000);
  assert.equal(whole.said.length, 3, 'of the last one nothing is said');
});

test('stopping early closes all corpora of a mixture', async () => {
  const closed: string[] = [];
  const source = async function* (name: string) {
    try {
      for (;;) yield { pieces: [name], source: name };
    } finally {
      closed.push(name);
    }
  };
  const sources = ['a', 'b'].map((corpus) => ({ corpus, weight: 1, documents: source(corpus) }));
  let seen = 0;
  for await (const document of interleaved(sources, undefined, new Generator(3), () => {})) {
    document.measured!(1);
    if (++seen === 4) break;
  }
  assert.deepEqual(closed.sort(), ['a', 'b']);
});

test('flags that do not make a mixture are refused, and a mixture has a name', () => {
  refusesUsage(() => checkMixture({ corpus: ['a'], corpusWeights: [1] }), 'corpus/mixture-of-one');
  refusesUsage(() => checkMixture({ corpus: ['a'], mixtureStop: 'first' }), 'corpus/mixture-of-one');
  refusesUsage(() => checkMixture({ corpus: ['a', 'b'], corpusWeights: [1] }), 'corpus/weights', '1', '2');
  refusesUsage(() => checkMixture({ corpus: ['a', 'a'] }), 'corpus/same-text-twice');
  checkMixture({ corpus: ['a', 'b'], corpusWeights: [3, 1], mixtureStop: 'first' });
  assert.equal(corpusName({ corpus: ['a'] }), 'a');
  assert.equal(corpusName({ corpus: ['a', 'b'], corpusWeights: [3, 1] }), 'a (3) + b (1)');
  assert.equal(mixtureOf({ corpus: ['a'] }), undefined);
});

test('shuffled documents are complete, in an order that depends on the seed and that a buffer can give', async () => {
  const order = async (size: number, seed: number, most?: number) => {
    const found: number[] = [];
    for await (const { source } of shuffled(documents('d', 500, 20, 4), size, new Generator(seed), most)) {
      found.push(Number(source.slice(1)));
    }
    return found;
  };
  const plain = Array.from({ length: 500 }, (_, i) => i);
  const one = await order(50, 7);
  assert.deepEqual(one, await order(50, 7));
  assert.notDeepEqual(one, await order(50, 8));
  assert.notDeepEqual(one, plain);
  assert.deepEqual(
    [...one].sort((a, b) => a - b),
    plain,
  );
  assert.ok(one.every((number, at) => number <= at + 50));
  // A buffer of few bytes holds few documents: each takes some hundred.
  const few = await order(400, 7, 60 * 512);
  assert.ok(few.every((number, at) => number <= at + 60));
  assert.deepEqual(new Set(few).size, 500);
  await refuses(() => order(10, 1, 500), 'corpus/document-too-long', '--shuffle-buffer');
});

test('a buffer is full by bytes: two per character, four per token id, and conversations with their words', async () => {
  const most = 2 ** 20;
  const words = 'x'.repeat(2 ** 15);
  const kinds: Record<string, { document: Omit<Document, 'source'>; bytes: number }> = {
    text: { document: { pieces: [words] }, bytes: 2 ** 16 },
    ids: { document: { pieces: [], ids: [new Int32Array(2 ** 15)] }, bytes: 2 ** 17 },
    chat: { document: { pieces: [words], conversation: [{ role: 'user', content: words }] }, bytes: 2 ** 17 },
  };
  for (const [kind, { document, bytes }] of Object.entries(kinds)) {
    let [read, drawn, held] = [0, 0, 0];
    const source = async function* () {
      for (; read < 100; read++) {
        held = Math.max(held, read - drawn);
        yield { ...document, source: `${read}` };
      }
    };
    for await (const _ of shuffled(source(), 1000, new Generator(1), most)) drawn++;
    assert.equal(drawn, 100);
    assert.ok(held * bytes <= most && (held + 2) * bytes >= most, `${kind}: ${held} are held`);
  }
});

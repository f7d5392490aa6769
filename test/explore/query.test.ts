import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ListColumn, ListQuery } from '../../src/explore/api.js';
import { askedList, WrongQuery } from '../../src/explore/list-query.js';
import { FeatureLists, type NumberColumn, numberColumns, sortedOrder, TokenTexts } from '../../src/explore/query.js';
import { Generator } from '../../src/random/generator.js';

const WORDS = [' the', ' Cat', 'cats', ' sat', 'Straße', '<b>', '"', ' cat'];
const FEATURES = 700;

/** Made-up columns with equal values, NaN and dead features in them. */
function columnsOf(features: number) {
  const random = new Generator(3);
  const numbers = Object.fromEntries(
    numberColumns.map((name) => [name, Float32Array.from({ length: features }, () => random.below(50) - 25)]),
  ) as Record<NumberColumn, Float32Array>;
  numbers.frequency.forEach((value, j) => {
    numbers.frequency[j] = Math.max(0, value) / 25;
  });
  for (let j = 0; j < features; j += 13) numbers.mean[j] = numbers.decoderCosine[j] = Number.NaN;
  const tokens = (most: number) =>
    Int32Array.from({ length: features * most }, (_, i) => (i % most < 2 + (i % 3) ? random.below(WORDS.length) : -1));
  return { features, numbers, tokens: { peakTokens: tokens(5), logitTokens: tokens(10) } };
}

const labels = new Map([
  [5, { label: 'Felines & <i>friends</i>', note: null }],
  [600, { label: null, note: 'see also dogs' }],
]);

function lists() {
  const columns = columnsOf(FEATURES);
  return {
    columns,
    lists: new FeatureLists(columns, new TokenTexts(WORDS), () => ({ version: 1, byFeature: labels })),
  };
}

/** What a query finds, by a scan over all features. */
function slowly({ numbers, tokens }: ReturnType<typeof columnsOf>, query: ListQuery): number[] {
  const { q = '', in: place, sort = 'frequency', order = 'desc', alive, labelled, bounds = {} } = query;
  const numberOf = (j: number, column: ListColumn) => (column === 'feature' ? j : numbers[column][j]!);
  const words = (name: 'peakTokens' | 'logitTokens', j: number, most: number) =>
    [...tokens[name].subarray(j * most, (j + 1) * most)].filter((token) => token >= 0).map((token) => WORDS[token]!);
  const has = (texts: string[]) => texts.some((text) => text.toLowerCase().includes(q.toLowerCase()));
  const found = Array.from({ length: FEATURES }, (_, j) => j).filter((j) => {
    const label = labels.get(j);
    const texts = {
      tokens: words('peakTokens', j, 5),
      logits: words('logitTokens', j, 10),
      labels: label ? [`${label.label ?? ''}\n${label.note ?? ''}`] : [],
    };
    const matches = place === undefined ? has(Object.values(texts).flat()) || q === String(j) : has(texts[place]);
    return (
      (q === '' || matches) &&
      (alive === undefined || numbers.frequency[j]! > 0 === (alive === 1)) &&
      (labelled === undefined || (label !== undefined) === (labelled === 1)) &&
      Object.entries(bounds).every(([column, [least, most]]) => {
        const value = numberOf(j, column as ListColumn);
        return value >= least && value <= most;
      })
    );
  });
  return found.sort((a, b) => {
    const [x, y] = [numberOf(a, sort), numberOf(b, sort)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y)) || a - b;
    return (order === 'asc' ? x - y : y - x) || a - b;
  });
}

test('lists equal a scan of all features, in the same order', () => {
  const { columns, lists: fast } = lists();
  const queries: ListQuery[] = [
    {},
    { sort: 'mean', order: 'asc' },
    { sort: 'mean', order: 'desc', alive: 1 },
    { sort: 'decoderCosine', alive: 0 },
    { sort: 'feature', order: 'desc', labelled: 1 },
    { labelled: 0, sort: 'max' },
    { q: 'CAT' },
    { q: 'cat', in: 'tokens', sort: 'feature', order: 'asc' },
    { q: 'cat', in: 'logits', bounds: { max: [0, 10] } },
    { q: 'felines', in: 'labels' },
    { q: 'dogs' },
    { q: '17', sort: 'feature' },
    { q: 'nowhere' },
    { bounds: { frequency: [0.2, 0.4], feature: [100, Number.POSITIVE_INFINITY], decoderCosine: [-5, 5] } },
  ];
  for (const query of queries) {
    const expected = slowly(columns, query);
    const { total, rows } = fast.list({ ...query, from: 3, count: 40 });
    assert.equal(total, expected.length, JSON.stringify(query));
    assert.deepEqual(
      rows.map(({ feature }) => feature),
      expected.slice(3, 43),
      JSON.stringify(query),
    );
  }
});

test('a text in quotes matches a complete token, ignoring white space', () => {
  const matching = (q: string) => [...new TokenTexts(WORDS).matching(q)].flatMap((on, i) => (on ? [WORDS[i]] : []));
  assert.deepEqual(matching('cat'), [' Cat', 'cats', ' cat']);
  assert.deepEqual(matching('"cat"'), [' Cat', ' cat']);
  assert.deepEqual(matching('"'), ['"']);
});

test('a row has its numbers, null where there is none, and texts as they are', () => {
  const { columns, lists: fast } = lists();
  const row = fast.row(0);
  assert.equal(row.mean, null);
  assert.equal(row.decoderCosine, null);
  assert.equal(row.max, columns.numbers.max[0]);
  assert.equal(fast.row(5).label, 'Felines & <i>friends</i>');
  assert.ok(row.tokens.every((token) => WORDS.includes(token)));
});

test('changed labels are found at once', () => {
  const columns = columnsOf(FEATURES);
  let view = { version: 0, byFeature: new Map<number, { label: string; note: null }>() };
  const fast = new FeatureLists(columns, new TokenTexts(WORDS), () => view);
  assert.equal(fast.list({ q: 'new label' }).total, 0);
  view = { version: 1, byFeature: new Map([[9, { label: 'A new label', note: null }]]) };
  assert.deepEqual(
    fast.list({ q: 'new label' }).rows.map(({ feature, label }) => [feature, label]),
    [[9, 'A new label']],
  );
});

test('sorting keeps the order of equal values, and puts NaN last, both ways', () => {
  const values = Float32Array.of(
    1,
    Number.NaN,
    -0,
    0,
    -3.5,
    Number.POSITIVE_INFINITY,
    1,
    1e-40,
    Number.NEGATIVE_INFINITY,
  );
  assert.deepEqual([...sortedOrder(values, 'asc')], [8, 4, 2, 3, 7, 0, 6, 5, 1]);
  assert.deepEqual([...sortedOrder(values, 'desc')], [5, 0, 6, 7, 2, 3, 4, 8, 1]);
});

test('a scatter has features that fire, all of them or evenly chosen ones', () => {
  const { columns, lists: few } = lists();
  const alive = columns.numbers.frequency.filter((value) => value > 0).length;
  const scatter = few.scatter();
  assert.deepEqual([scatter.of, scatter.feature.length], [alive, alive]);
  const many = columnsOf(20_000);
  const chosen = new FeatureLists(many, new TokenTexts(WORDS), () => ({ version: 0, byFeature: new Map() })).scatter();
  assert.equal(chosen.feature.length, 5000);
  assert.equal(new Set(chosen.feature).size, 5000);
  assert.ok(chosen.feature.every((j, i) => many.numbers.max[j] === chosen.max[i] && chosen.frequency[i]! > 0));
});

test('a URL asks for a list, or is refused in a sentence', () => {
  const asked = (text: string) => askedList(new URLSearchParams(text));
  assert.deepEqual(
    asked('q=a+b&in=tokens&sort=max&order=asc&alive=1&labelled=0&from=20&count=10&max=..5&frequency=1e-3..0.5'),
    {
      ...{ q: 'a b', in: 'tokens', sort: 'max', order: 'asc', alive: 1, labelled: 0, from: 20, count: 10 },
      bounds: { max: [Number.NEGATIVE_INFINITY, 5], frequency: [0.001, 0.5] },
    },
  );
  for (const wrong of [
    'x=1',
    'sort=name',
    'order=up',
    'alive=2',
    'from=-1',
    'count=501',
    'max=1',
    'max=a..b',
    'max=1..2..3',
  ])
    assert.throws(() => asked(wrong), WrongQuery, wrong);
});

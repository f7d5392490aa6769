import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  addressOf,
  listParameters,
  listQueryOf,
  type Place,
  placeAt,
  untried,
} from '../../../src/explore/client/route.js';
import { steeringIn, UNSTEERED } from '../../../src/explore/client/steer-address.js';

const SAES = ['gated', 'topk-32.1'];

const PLACES: readonly Place[] = [
  { view: 'list', sae: 'topk-32.1', query: {} },
  {
    view: 'list',
    sae: 'gated',
    query: {
      ...{ q: 'a&b=c #/?% "é"', in: 'logits', sort: 'max', order: 'asc', alive: 0, labelled: 1, from: 150 },
      bounds: { frequency: [1e-7, 0.5], max: [-Infinity, 3], decoderCosine: [-0.25, Infinity] },
    },
  },
  { view: 'feature', sae: 'gated', feature: 1048575, query: { q: 'x', sort: 'feature' }, lines: 'wrapped' },
  { view: 'feature', sae: 'gated', feature: 0, query: {}, lines: 'aligned' },
  { view: 'compare', left: { sae: 'gated', feature: 17 }, right: { sae: 'topk-32.1', feature: 0 } },
  { view: 'compare', left: { sae: 'topk-32.1', feature: null }, right: { sae: 'gated', feature: null } },
  {
    view: 'text',
    sae: 'gated',
    text: 'line one\nline two & more ? #',
    feature: 3,
    at: 0,
    next: 'likeliest',
    steer: UNSTEERED,
  },
  untried('gated'),
  {
    ...{ view: 'text', sae: 'gated', text: 'a', feature: null, at: 7, next: 255999 },
    steer: {
      changes: [
        { feature: 17, operation: 'set', strength: 8.25 },
        { feature: 4, operation: 'ablate', strength: 0 },
        { feature: 0, operation: 'add', strength: -3e-7 },
        { feature: 1048575, operation: 'set', strength: 0 },
        { feature: 5, operation: 'scale', strength: 1e20 },
      ],
      ...{ tokens: 512, temperature: 0.8, seed: 4294967295 },
    },
  },
];

test('an address leads back to the place that it was made for', () => {
  for (const place of PLACES) assert.deepEqual(placeAt(addressOf(place), SAES), place);
  assert.equal(addressOf(PLACES[3]!), '#/feature/gated/0', 'what is as usual is left out');
});

test('an unknown address leads to the list of the first SAE', () => {
  const start = { view: 'list', sae: 'gated', query: {} };
  for (const hash of [
    '',
    '#',
    '#/',
    '#/nowhere',
    '#/list/missing',
    '#/feature/gated/x',
    '#/feature/gated/-1',
    '#/%E0%A4%A',
  ]) {
    assert.deepEqual(placeAt(hash, SAES), start, hash);
  }
  const compare = placeAt('#/compare?a=missing/9&b=', SAES);
  assert.deepEqual(compare, {
    view: 'compare',
    left: { sae: 'gated', feature: 9 },
    right: { sae: 'gated', feature: null },
  });
});

test('only valid parts of a query are kept', () => {
  const wrong =
    'sort=toString&order=up&alive=2&labelled=&in=everywhere&from=-5&max=3&frequency=a..b&mean=5..1&normShare=1...2';
  assert.deepEqual(listQueryOf(new URLSearchParams(wrong)), {});
  assert.deepEqual(listQueryOf(new URLSearchParams('max=..')).bounds, { max: [-Infinity, Infinity] });
  assert.equal(String(listParameters({ q: '', in: 'tokens', from: 0 })), '', 'a place without a search is no filter');
});

test('only valid changes of features are kept', () => {
  const wrong =
    'set=17&set=x_1&add=3_&scale=4_NaN&set=5_1e39&set=-1_2&ablate=&tokens=0&temperature=-1&seed=1.5&tokens=9';
  assert.deepEqual(steeringIn(new URLSearchParams(wrong)), UNSTEERED);
  const twice = steeringIn(new URLSearchParams('set=1_2&ablate=1&ablate=2_7')).changes;
  assert.deepEqual(twice, [
    { feature: 1, operation: 'set', strength: 2 },
    { feature: 2, operation: 'ablate', strength: 0 },
  ]);
  const many = Array.from({ length: 50 }, (_, j) => `ablate=${j}`).join('&');
  assert.equal(steeringIn(new URLSearchParams(many)).changes.length, 32);
});

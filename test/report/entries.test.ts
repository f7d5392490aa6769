import assert from 'node:assert/strict';
import { test } from 'node:test';
import { distinctNames, families } from '../../src/report/entries.js';
import { entries } from './sample.js';

test('an SAE is named by as much of its path as distinguishes it', () => {
  assert.deepEqual(distinctNames(['runs/a', 'runs/b/']), ['a', 'b']);
  assert.deepEqual(distinctNames(['x/gated/final', 'x/standard/final', 'x/other']), [
    'gated/final',
    'standard/final',
    'other',
  ]);
  assert.deepEqual(distinctNames(['x/a', 'x/a', 'x/b']), ['a', 'a (2)', 'b']);
  assert.deepEqual(distinctNames(['.', 'C:\\runs\\a']), ['.', 'a']);
});

test('long names are cut in figures and stay distinct', () => {
  const long = 'gemma-2b-layer-6-residual-stream-gated';
  const [a, b] = entries(
    { sae: `x/${long}-0.1-seed0-final-checkpoint` },
    { sae: `x/${long}-0.2-seed0-final-checkpoint` },
  );
  assert.ok(a && b && a.label.length <= 40 && a.label.includes('…'));
  assert.notEqual(a.label, b.label);
  assert.ok(a.name.startsWith(`gated, ${long}`));
});

test('families of one architecture have separate curves, colours and places, after gated and standard', () => {
  const ablated = (name: string) => ({ architecture: 'gated', metadata: { sae_pipe: { ablate: [name] } } });
  const order = entries(
    { sae: 'c', cfg: ablated('no-r-mag') },
    { sae: 'b', architecture: 'standard' },
    { sae: 'a' },
    { sae: 'd', cfg: ablated('untied-encoder') },
  );
  assert.deepEqual(
    order.map(({ family, style }) => [family, style]),
    [
      ['gated', 0],
      ['standard', 1],
      ['gated, no r_mag', 2],
      ['gated, untied encoder', 3],
    ],
  );
  assert.equal(families(order).length, 4);
});

test('the order is site, gated, standard, others, and L0 downwards', () => {
  const order = entries(
    { sae: 'e', architecture: 'topk' },
    { sae: 'c', architecture: 'standard', l0: 5 },
    { sae: 'b', architecture: 'standard', l0: 50 },
    { sae: 'd', architecture: 'jumprelu' },
    { sae: 'a', architecture: 'gated', l0: Number.NaN },
    { sae: 'z', architecture: 'gated', hook: 'blocks.0.hook_mlp_out' },
  );
  assert.deepEqual(
    order.map(({ record }) => record.sae),
    ['z', 'a', 'b', 'c', 'd', 'e'],
  );
  assert.deepEqual(
    order.map(({ style }) => style),
    [0, 0, 1, 1, 2, 3],
  );
  assert.deepEqual(
    order.map(({ index }) => index),
    [0, 1, 2, 3, 4, 5],
  );
  assert.equal(families(order).length, 5);
});

test('SAEs of one family have colours of a ramp, by λ; several families have theirs', () => {
  const at = (l1: number) => ({ metadata: { sae_pipe: { l1 } } });
  const one = entries(...[4, 1, 2].map((l1) => ({ sae: `s${l1}`, cfg: at(l1), l0: 10 / l1 })));
  assert.deepEqual(
    one.map(({ lambda, tone }) => [lambda, tone]),
    [
      [1, 0],
      [2, 0.5],
      [4, 1],
    ],
  );
  const two = entries({ sae: 'a', cfg: at(1) }, { sae: 'b', cfg: at(2) }, { sae: 'c', architecture: 'standard' });
  assert.ok(two.every(({ tone }) => tone === null));
});

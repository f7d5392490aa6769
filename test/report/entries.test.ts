import assert from 'node:assert/strict';
import { test } from 'node:test';
import { distinctNames, entriesOf, families } from '../../src/report/entries.js';
import { l0AtLossRecovered, matchedSentences } from '../../src/report/matched.js';
import { entries, evalRecord, sweep } from './sample.js';

test('an SAE is named by as much of its path as tells it apart', () => {
  assert.deepEqual(distinctNames(['runs/a', 'runs/b/']), ['a', 'b']);
  assert.deepEqual(distinctNames(['x/gated/final', 'x/standard/final', 'x/other']), [
    'gated/final',
    'standard/final',
    'other',
  ]);
  assert.deepEqual(distinctNames(['x/a', 'x/a', 'x/b']), ['a', 'a (2)', 'b']);
  assert.deepEqual(distinctNames(['.', 'C:\\runs\\a']), ['.', 'a']);
});

test('long names are cut in figures and stay unlike', () => {
  const long = 'gemma-2b-layer-6-residual-stream-gated';
  const [a, b] = entries(
    { sae: `x/${long}-0.1-seed0-final-checkpoint` },
    { sae: `x/${long}-0.2-seed0-final-checkpoint` },
  );
  assert.ok(a && b && a.label.length <= 30 && a.label.includes('…'));
  assert.notEqual(a.label, b.label);
  assert.ok(a.name.startsWith(long));
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
    order.map(({ name }) => name),
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

test('L0 at equal loss recovered is interpolated in log L0', () => {
  const [gated, standard] = families(entriesOf(sweep()));
  assert.ok(gated && standard);
  // Halfway in loss recovered between L0 10 and 100 is 10^1.5.
  assert.ok(Math.abs(l0AtLossRecovered(gated, 0.945)! - 10 ** 1.5) < 1e-9);
  assert.equal(l0AtLossRecovered(gated, 0.5), null);
  // Both reach 0.90 to 0.98: compared at 0.94, gated 10·10^(4/9), standard 20·10^(4/8).
  assert.deepEqual(matchedSentences([...gated, ...standard]), [
    'At 94.0 % loss recovered, linear in log L0 between neighbouring points, gated SAEs have L0 27.8 and standard SAEs 63.2 (2.27 times as many).',
  ]);
});

test('SAEs that do not overlap are not compared', () => {
  const far = sweep().map(({ record, curve }) => ({
    record:
      record.architecture === 'gated' ? evalRecord({ ...record, loss_recovered: record.loss_recovered - 0.5 }) : record,
    curve,
  }));
  assert.deepEqual(matchedSentences(entriesOf(far)), []);
  assert.deepEqual(matchedSentences(entries({})), []);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { recordTable } from '../../src/eval/record-table.js';
import { evalRecord } from '../report/sample.js';

const lines = (...args: Parameters<typeof recordTable>) => recordTable(...args).split('\n');

test('headline numbers are shown with their intervals', () => {
  const record = evalRecord({
    hook: 'blocks.1.hook_mlp_out',
    tokens: 5000,
    contexts: 20,
    loss_recovered: 0.96954,
    l0: 12.34,
    delta_ce: 0.01234,
    ce_zero: 7.5,
    ce_mean: 6.25,
    loss_recovered_mean: 0.9,
    intervals: { loss_recovered: [0.9681, 0.9712], l0: [12.04, 12.67], loss_recovered_mean: [Number.NaN, Number.NaN] },
  });
  const [head, row, site, over] = lines([record]);
  assert.match(row!, / 12\.3 \[12\.0, 12\.7\] +96\.95 % \[96\.81, 97\.12\] +90\.00 % +0\.0123 /);
  assert.equal(head!.length, row!.length);
  assert.match(head!, /L0 +loss recovered +against mean +ΔCE/);
  assert.match(site!, /^blocks\.1\.hook_mlp_out: CE clean .*, zero-ablated 7\.5000, mean-ablated 6\.2500$/);
  assert.match(over!, /^over 5000 tokens of 20 contexts;/);
});

test('a record of an older file has no intervals, and dashes for what it lacks', () => {
  const old = evalRecord({ loss_recovered: 0.5 });
  const [head, row] = lines([old]);
  assert.doesNotMatch(head!, /against mean/);
  assert.match(row!, / 50\.00 % +–/);
  assert.doesNotMatch(row!, /\[/);
});

test('losses are printed once per site', () => {
  const records = [{ hook: 'a' }, { hook: 'b' }, { hook: 'a' }].map((changes) => evalRecord(changes));
  const said = lines(records).filter((line) => /^[ab]: CE clean/.test(line));
  assert.deepEqual(
    said.map((line) => line[0]),
    ['a', 'b'],
  );
});

test('a text that the model predicts worse than its token frequencies would is said to be foreign, once per hook', () => {
  const foreign = (unigram_entropy?: number) =>
    lines([1, 2].map(() => evalRecord({ hook: 'h', ce_clean: 7.73, unigram_entropy }))).filter((line) =>
      /^h: the model does not know this text.* 7\.73.* 6\.10 /.test(line),
    ).length;
  assert.deepEqual([foreign(6.1), foreign(7.73), foreign(8), foreign()], [1, 0, 0, 0]);
});

test('a narrow interval does not round away from its number', () => {
  const record = evalRecord({
    relative_reconstruction_bias: 0.9931,
    intervals: { relative_reconstruction_bias: [0.9915, 0.9947] },
  });
  assert.match(lines([record])[1]!, /0\.993 \[0\.99[12], 0\.995\]/);
});

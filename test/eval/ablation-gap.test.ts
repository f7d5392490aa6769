import assert from 'node:assert/strict';
import { test } from 'node:test';
import { metricsOf, noBias, noLossRecovered, standardError } from '../../src/eval/metrics.js';
import { HEADLINE } from '../../src/eval/record.js';
import { recordTable } from '../../src/eval/record-table.js';
import { beginContext, newSaeSums, newSiteSums } from '../../src/eval/sums.js';
import { Generator } from '../../src/random/generator.js';
import { pointsOf } from '../../src/report/against-l0.js';
import { entriesOf } from '../../src/report/entries.js';
import { comparisonsOf } from '../../src/report/firing-ratio.js';
import { evalRecord } from '../report/sample.js';

const tokens = (contexts: number) => Array.from({ length: contexts }, () => 100);
/** Sums of contexts whose means are `mean` ± `spread`, half of them each. */
const sums = (contexts: number, mean: number, spread = 0) =>
  Array.from({ length: contexts }, (_, c) => 100 * (mean + (c % 2 === 0 ? spread : -spread)));

test('the standard error is that of a ratio of sums over contexts', () => {
  // ± 1 around the mean in 16 contexts: a deviation of √(16/15) over √16.
  assert.ok(Math.abs(standardError(sums(16, 3, 1), tokens(16)) - Math.sqrt(16 / 15) / 4) < 1e-12);
  assert.equal(standardError(sums(16, 3), tokens(16)), 0);
  assert.ok(Number.isNaN(standardError([1], [1])));
});

test('loss recovered has no value where removing the site costs nothing, little, or an unknown amount', () => {
  const reason = (gap: number, spread = 0, contexts = 16) =>
    noLossRecovered(sums(contexts, 3 + gap, spread), sums(contexts, 3), tokens(contexts), '0');
  // A loss that falls is said to fall, and the site may well matter.
  assert.match(reason(-0.5)!, /lowers the loss by 0\.5 nats/);
  assert.doesNotMatch(reason(-0.5)!, /does not matter/);
  for (const gap of [0, 0.0099]) assert.match(reason(gap)!, /does not matter/);
  assert.equal(reason(0.0101), undefined);
  const error = Math.sqrt(16 / 15) / 4;
  assert.equal(reason(10.1 * error, 1), undefined);
  assert.match(reason(9.9 * error, 1)!, /16 contexts, .*more tokens/);
  // A single context has no standard error.
  assert.equal(reason(0.5, 0, 1), undefined);
});

test('γ has no value where reconstructions are orthogonal to the activations', () => {
  assert.equal(noBias(sums(16, 5, 1), tokens(16)), undefined);
  for (const [mean, spread] of [
    [0, 0],
    [-1, 0],
    [0.1, 1],
  ] as const)
    assert.ok(noBias(sums(16, mean, spread), tokens(16)));
});

/** Sums of few contexts, as wild as they can be: losses that hardly differ, heavy tails, signs of all kinds. */
function wildSums(random: Generator) {
  const [site, sae] = [newSiteSums(2, 32), newSaeSums(2, 4, 32)];
  const contexts = 1 + random.below(8);
  const heavy = () => Math.exp(3 * random.normal());
  const effect = random.uniform() < 0.5 ? 1e-3 : 1;
  for (let c = 0; c < contexts; c++) {
    for (const { byContext } of [site, sae]) beginContext(byContext);
    const n = 1 + random.below(30);
    const set = (columns: Record<string, number[]>, values: Record<string, number>) => {
      for (const [name, value] of Object.entries(values)) columns[name]![c] = value;
    };
    const clean = n * (3 + random.normal());
    const loss = () => clean + effect * n * random.normal();
    const squared = heavy();
    set(site.byContext, { tokens: n, nllClean: clean, nllZero: loss(), nllMean: loss(), spread: squared });
    set(sae.byContext, { nllSpliced: loss(), kl: heavy(), l0: random.below(4) * n, error: heavy() });
    set(sae.byContext, { reconstruction: heavy(), product: heavy() * random.normal(), cosine: n * random.uniform() });
    site.u.push(new Float32Array(2));
  }
  sae.l0[0] = 1;
  return { site, sae };
}

test('whatever was measured: a value has an interval that contains it, and what has no value has a reason', () => {
  const random = new Generator(11);
  const seen = new Map<string, number>();
  for (let trial = 0; trial < 150; trial++) {
    const { site, sae } = wildSums(random);
    const metrics = metricsOf(site, sae, { context: 32, meanAblation: true });
    for (const name of HEADLINE) {
      const [value, [low, high]] = [metrics[name]!, metrics.intervals[name]!];
      const none = Number.isNaN(value);
      assert.equal(name in metrics.reasons, none, `${trial}, ${name}: ${value}`);
      if (none) assert.ok(Number.isNaN(low) && Number.isNaN(high), `${trial}, ${name}`);
      else if (site.u.length > 1)
        assert.ok(low <= value && value <= high, `${trial}, ${name}: ${value} in [${low}, ${high}]`);
      if (none) seen.set(name, (seen.get(name) ?? 0) + 1);
    }
  }
  assert.deepEqual([...seen.keys()].sort(), ['loss_recovered', 'loss_recovered_mean', 'relative_reconstruction_bias']);
});

test('an SAE without loss recovered has a dash and a reason in the table, and no place in figures and ratios', () => {
  const record = (architecture: string, l0: number, loss_recovered: number) =>
    evalRecord({
      ...{ architecture, l0, loss_recovered, hook: 'h', sae: `${architecture}-${l0}` },
      reasons: Number.isNaN(loss_recovered) ? { loss_recovered: 'the site does not matter' } : {},
    });
  const records = [record('gated', 10, Number.NaN), record('standard', 20, Number.NaN), record('gated', 30, 0.9)];
  const table = recordTable(records);
  assert.equal(
    table.split('\n').filter((line) => /^h: no loss recovered: the site does not matter$/.test(line)).length,
    1,
  );
  const points = pointsOf(entriesOf(records.map((one) => ({ record: one, curve: [] }))), 'loss_recovered');
  assert.deepEqual(comparisonsOf(points), []);
});

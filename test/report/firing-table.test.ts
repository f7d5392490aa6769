import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Point, pointsOf } from '../../src/report/against-l0.js';
import { entriesOf } from '../../src/report/entries.js';
import { comparisonsOf, firingSentence, firingTable, overallSentence } from '../../src/report/firing-ratio.js';
import { entries, fullSweep, occurrences } from './sample.js';

const recovered = (of: Parameters<typeof pointsOf>[0]) => pointsOf(of, 'loss_recovered');

test('one comparison per site, each with its levels, its mean, and a sentence', () => {
  const comparisons = comparisonsOf(recovered(entriesOf(fullSweep())));
  assert.deepEqual(
    comparisons.map(({ site }) => site),
    ['blocks.2.attn.hook_z', 'blocks.2.hook_mlp_out', 'blocks.2.hook_resid_post'],
  );
  // The sample's standard SAEs need twice the features.
  for (const { result } of comparisons) assert.ok(result.kind === 'ratio' && Math.abs(result.mean - 0.5) < 1e-9);
  const table = firingTable(comparisons)!;
  assert.equal(occurrences(table, '<tr><td class="number">'), 15);
  assert.equal(occurrences(table, 'geometric mean</td><td class="number">0.50</td>'), 3);
  assert.match(
    firingSentence(comparisons[2]!),
    /at blocks\.2\.hook_resid_post have 0\.50 times as many firing features/,
  );
  assert.equal(overallSentence(comparisons), 'Geometric mean over 3 sites: 0.50.');
});

test('only the plain families are compared, and the reference by itself', () => {
  const point = (family: string, l0: number, value: number, index: number | null): Point => {
    return { site: 's', family, style: 0, l0, value, name: '', label: '', index };
  };
  const own = [point('gated', 10, 0.9, 0), point('standard', 40, 0.9, 1), point('gated, no r_mag', 1, 0.9, 2)];
  const published = [point('gated', 10, 0.9, null), point('standard', 20, 0.9, null)];
  const comparisons = comparisonsOf([...own, ...published], 'the paper');
  assert.deepEqual(
    comparisons.map(({ reference, result }) => [reference, result.kind === 'ratio' && result.mean.toFixed(6)]),
    [
      [null, '0.250000'],
      ['the paper', '0.500000'],
    ],
  );
  assert.match(firingSentence(comparisons[1]!), /s \(the paper\) have 0\.50/);
  assert.equal(overallSentence(comparisons), null);
  assert.deepEqual(comparisonsOf(own.slice(0, 1)), []);
});

test('curves that do not overlap are reported, without a table', () => {
  const apart = comparisonsOf(
    recovered(entries({ loss_recovered: 0.95 }, { architecture: 'standard', loss_recovered: 0.9 })),
  );
  assert.equal(firingTable(apart), null);
  assert.match(
    firingSentence(apart[0]!),
    /do not overlap, and nothing is extrapolated: gated SAEs recover 95\.00 % .*90\.00 %/,
  );
  const over = comparisonsOf(recovered(entries({ loss_recovered: 1.2 }, { architecture: 'standard' })));
  assert.match(firingSentence(over[0]!), /one of the curves has no point/);
});

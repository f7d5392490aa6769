import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { readEvaluation } from '../../src/eval/record.js';
import { pointsOf } from '../../src/report/against-l0.js';
import { entriesOf } from '../../src/report/entries.js';
import { comparisonsOf, firingSentence, overallSentence } from '../../src/report/firing-ratio.js';

test('ratio of firing features on the committed evaluation: three sites, and their geometric mean', async () => {
  const entries = entriesOf(await readEvaluation('docs/results/pareto-tiny/eval'));
  assert.equal(entries.length, 30);
  const comparisons = comparisonsOf(pointsOf(entries, 'loss_recovered'), null);
  const overall = /Geometric mean over 3 sites: (\d\.\d\d)\./.exec(overallSentence(comparisons)!)![1]!;
  const sites = comparisons.map((comparison) => / have (\d\.\d\d) times /.exec(firingSentence(comparison))![1]!);
  assert.deepEqual([...sites, overall], ['0.35', '0.57', '0.43', '0.44']);
});

test('the committed table is what its script makes of the committed evaluation', () => {
  for (const name of ['gemma-3-270m', 'pareto-tiny', 'ablations-tiny', 'start-tiny', 'zoo-tiny']) {
    const made = execFileSync(process.execPath, ['scripts/results-table.mjs', `docs/results/${name}/eval/eval.json`]);
    assert.equal(made.toString(), readFileSync(`docs/results/${name}/table.md`, 'utf8'));
  }
});

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { entriesOf } from '../../src/report/entries.js';
import { comparisonsOf, firingSentence, overallSentence } from '../../src/report/firing-table.js';
import { pointsOf } from '../../src/report/points.js';
import { readEvaluation } from '../../src/report/read.js';

test('the ratios that the README and the results tell are those of the committed evaluation', async () => {
  const entries = entriesOf(await readEvaluation('docs/results/pareto-tiny/eval'));
  assert.equal(entries.length, 30);
  const comparisons = comparisonsOf(pointsOf(entries, 'loss_recovered'), null);
  const overall = /Geometric mean over 3 sites: (\d\.\d\d)\./.exec(overallSentence(comparisons)!)![1]!;
  const sites = comparisons.map((comparison) => / have (\d\.\d\d) times /.exec(firingSentence(comparison))![1]!);
  assert.match(
    readFileSync('README.md', 'utf8'),
    new RegExp(`they need ${overall} times .*; ${sites[0]}, ${sites[1]} and ${sites[2]} by site`),
  );
  assert.match(
    readFileSync('docs/results/README.md', 'utf8'),
    new RegExp(`have ${sites[0]} .*, ${sites[1]} .* and ${sites[2]} .*, ${overall} in the geometric mean`),
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crossEntropyFigure } from '../../src/report/cross-entropy.js';
import { densityFigure } from '../../src/report/density.js';
import { bucketMeans, withoutRepeats } from '../../src/report/downsample.js';
import { entriesOf } from '../../src/report/entries.js';
import { paretoFigure, paretoMissing, paretoScales } from '../../src/report/pareto.js';
import { linePath } from '../../src/report/svg.js';
import { trainingCurvesFigure, withoutCurve } from '../../src/report/training-curves.js';
import { curve, entries, evalRecord, occurrences, sweep } from './sample.js';

const PANEL = { x: 0, y: 0, width: 720, height: 430 };
const rounded = (value: number) => String(Math.round(value * 100) / 100);

test('Pareto: every point stands where the scales put it, one polyline an architecture', () => {
  const all = entriesOf(sweep());
  const { x, y } = paretoScales(all, PANEL);
  assert.equal(x.kind, 'log10');
  assert.equal(y.domain[1], 100);
  const svg = paretoFigure(all).text;
  for (const { record, style } of all) {
    const at = `translate(${rounded(x(record.l0))} ${rounded(y(100 * record.loss_recovered))})`;
    assert.ok(svg.includes(`class="mark style-${style}" transform="${at}"`), `${record.sae} at ${at}`);
  }
  const lines = [...svg.matchAll(/<polyline class="line style-(\d)" points="([^"]+)"/g)];
  assert.deepEqual(
    lines.map(([, style]) => style),
    ['0', '1'],
  );
  const xs = lines[1]![2]!
    .trim()
    .split(' ')
    .map((pair) => Number(pair.split(',')[0]));
  assert.deepEqual(
    xs,
    [2, 20, 200].map((l0) => Number(rounded(x(l0)))),
  );
});

test('Pareto: better is up and to the left', () => {
  const { x, y } = paretoScales(entriesOf(sweep()), PANEL);
  assert.ok(x(10) < x(100));
  assert.ok(y(99) < y(80));
});

test('Pareto: one SAE has a point, no line; one that was not measured is named, not drawn', () => {
  const one = paretoFigure(entries({ l0: 31 }));
  assert.equal(occurrences(one, '<polyline'), 0);
  assert.equal(occurrences(one, 'class="mark'), 1);
  const odd = entries({ sae: 'good' }, { sae: 'bad', l0: Number.NaN });
  assert.equal(occurrences(paretoFigure(odd), 'class="mark'), 1);
  assert.match(paretoMissing(odd), /: bad\.$/);
  assert.equal(occurrences(paretoFigure(entries({ l0: Number.NaN })), 'class="mark'), 0);
});

test('Pareto: a panel a hook', () => {
  const svg = paretoFigure(entries({ hook: 'blocks.0.hook_mlp_out' }, { hook: 'blocks.1.hook_mlp_out' }));
  assert.equal(occurrences(svg, '↖ better'), 2);
  assert.equal(occurrences(svg, '>blocks.1.hook_mlp_out<'), 1);
});

test('training curves: five panels, a line an SAE in each, at most 400 points', () => {
  const [a, b] = entriesOf([
    { record: evalRecord({ sae: 'a' }), curve: curve(2000) },
    { record: evalRecord({ sae: 'b', architecture: 'standard' }), curve: curve(3) },
  ]);
  const svg = trainingCurvesFigure([a!, b!])!.text;
  for (const title of ['L0', 'Explained variance', 'Loss (log scale)', 'Dead features (%)', 'Learning rate']) {
    assert.ok(svg.includes(`>${title}<`), title);
  }
  const paths = [...svg.matchAll(/<path id="figure-2-\d\d-\d+" class="line[^>]* d="([^"]*)"/g)].map(([, d]) => d!);
  assert.equal(paths.length, 10);
  assert.ok(paths.every((path) => path.split('L').length <= 400));
  assert.ok(paths.some((path) => path.split('L').length === 400));
});

test('training curves: SAEs without one are left out, and none at all is no figure', () => {
  const all = entriesOf([
    { record: evalRecord({ sae: 'with' }), curve: curve(10) },
    { record: evalRecord({ sae: 'without' }), curve: [] },
  ]);
  assert.deepEqual(
    withoutCurve(all).map(({ name }) => name),
    ['without'],
  );
  assert.ok(!trainingCurvesFigure(all)!.text.includes('without'));
  assert.equal(trainingCurvesFigure(entries({})), null);
});

test('training curves: values that are missing, zero or negative do not break a log axis', () => {
  for (const changes of [{ loss: Number.NaN }, { loss: 0 }, { loss: -1, l0: 0, lr: 0 }]) {
    const all = entriesOf([{ record: evalRecord(), curve: [...curve(4), ...curve(8, changes).slice(4)] }]);
    assert.doesNotMatch(trainingCurvesFigure(all)!.text, /NaN|Infinity/);
    const only = entriesOf([{ record: evalRecord(), curve: curve(8, changes) }]);
    assert.doesNotMatch(trainingCurvesFigure(only)!.text, /NaN|Infinity/);
  }
});

test('bucket means keep the mean, leave out what is not finite, and mark a gap', () => {
  const points = [1, 3, Number.NaN, 7, Number.NaN, Number.NaN].map((value, i) => ({ tokens: 10 * i, value }));
  assert.deepEqual(bucketMeans(points, 3), [
    { tokens: 5, value: 2 },
    { tokens: 30, value: 7 },
    { tokens: 45, value: Number.NaN },
  ]);
  assert.equal(bucketMeans(points, 400).length, 6);
  assert.equal(
    linePath([
      [0, 0],
      [1, 1],
      [2, Number.NaN],
      [3, 3],
    ]),
    'M0.0 0.0L1.0 1.0M3.0 3.0L3.0 3.0',
  );
});

test('a resumed run replaces what it does over', () => {
  const steps = [1, 2, 3, 4, 3, 4, 5];
  const lines = steps.map((step, i) => ({ ...curve(1)[0]!, step, tokens: 1000 * step, loss: i }));
  assert.deepEqual(
    withoutRepeats(lines).map(({ loss }) => loss),
    [0, 1, 4, 5, 6],
  );
});

test('density: bar heights are proportional to the counts, dead features are written', () => {
  const svg = densityFigure(entries({})).text;
  const bars = [
    ...svg.matchAll(/<rect class="bar style-0" x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="([\d.]+)"/g),
  ];
  const heights = bars.map(([, , , height]) => Number(height));
  assert.equal(heights.length, 3);
  assert.ok(Math.abs(heights[1]! / heights[0]! - 3) < 0.01);
  const [first, second] = bars.map(([, x, width]) => [Number(x), Number(width)] as const);
  assert.ok(Math.abs(first![0] + first![1] - second![0]) < 0.02, 'bins touch');
  assert.ok(svg.includes('12 dead (2.3 %)'));
  const empty = { log10_edges: [-4, 0], counts: [0], dead: 512 };
  assert.ok(densityFigure(entries({ density_histogram: empty })).text.includes('512 dead (100.0 %)'));
});

test('cross-entropy: a marker where loss is added, an arrow where none is, dashes for what is missing', () => {
  const svg = crossEntropyFigure(
    entries(
      { sae: 'a', loss_recovered: 0.9 },
      { sae: 'b', ce_spliced: 2.4, loss_recovered: 1.01 },
      { sae: 'c', ce_zero: Number.NaN, loss_recovered: Number.NaN, ce_spliced: 2.6 },
    ),
  ).text;
  assert.equal(occurrences(svg, '◂'), 1);
  assert.equal(occurrences(svg, 'class="recovered'), 2);
  assert.equal(occurrences(svg, '>–<'), 2);
  assert.ok(svg.includes('a: 1.0000 nats added by splicing, 10.0000 by zero-ablation'));
  const nothing = entries({ ce_clean: Number.NaN, ce_spliced: Number.NaN, ce_zero: Number.NaN });
  assert.doesNotMatch(crossEntropyFigure(nothing).text, /NaN|Infinity/);
});

test('figures are named and described for screen readers', () => {
  const all = entriesOf(sweep());
  for (const svg of [paretoFigure(all), trainingCurvesFigure(all)!, densityFigure(all), crossEntropyFigure(all)]) {
    assert.match(svg.text, /^<svg [^>]*role="img"[^>]*aria-labelledby="(figure-\d)-title \1-desc"/);
    assert.match(svg.text, /<title id="figure-\d-title">[^<]+<\/title>\n<desc id="figure-\d-desc">[^<]+<\/desc>/);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EvalRecord } from '../../src/eval/record.js';
import { notDrawn, paretoFigure, pointsOf, recoveredDomain, shrinkageFigure } from '../../src/report/against-l0.js';
import { crossEntropyFigure } from '../../src/report/cross-entropy.js';
import {
  densityFigure,
  distribution,
  l0DistributionFigure,
  lossByPositionFigure,
} from '../../src/report/distributions.js';
import { type Entry, entriesOf } from '../../src/report/entries.js';
import { bucketMeans, withoutRepeats } from '../../src/report/thinned-curve.js';
import { beyond, trainingCurvesFigure, withoutCurve, yAxis } from '../../src/report/training-curves.js';
import { curve, elements, entries, evalRecord, fullSweep, occurrences, sweep } from './sample.js';

/** Marks of a figure against L0, those of its key left out. */
const marks = (svg: { toString(): string }, mark: string) =>
  elements(svg, `svg > svg:not(:first-of-type) [data-mark="${mark}"]`);
const pareto = (of: readonly Entry[]) => paretoFigure(pointsOf(of, 'loss_recovered'));

/** Where a symbol stands, in pixels of its panel. */
function place(element: { getAttribute(name: string): string | null }): [number, number] {
  const found = /translate\((\S+),(\S+)\)/.exec(element.getAttribute('transform') ?? '');
  const [x, y] = found ? [found[1], found[2]] : [element.getAttribute('cx'), element.getAttribute('cy')];
  return [Number(x), Number(y)];
}

test('Pareto: one symbol per SAE, L0 on a log axis, one line per family', () => {
  const all = entriesOf(sweep());
  const svg = pareto(all);
  const places = new Map(
    marks(svg, 'point').map((element) => [Number(element.getAttribute('data-sae')), place(element)]),
  );
  assert.equal(places.size, 5);
  const at = (name: string) => places.get(all.find((entry) => entry.record.sae === `runs/${name}`)!.index)!;
  const [two, twenty, twoHundred] = [at('standard-2'), at('standard-20'), at('standard-200')];
  assert.ok(Math.abs(twenty[0] - two[0] - (twoHundred[0] - twenty[0])) < 0.03, 'equal factors, equal lengths');
  // Loss recovered 0.9 at both, 0.99 above.
  assert.ok(Math.abs(at('gated-10')[1] - twenty[1]) < 0.02);
  assert.ok(at('gated-100')[1] < at('gated-10')[1] && at('gated-10')[0] < twenty[0]);
  assert.equal(marks(svg, 'curve').length, 2);
});

test('Pareto: the axis goes up to 100 where that is near', () => {
  assert.deepEqual(recoveredDomain([80, 99])[1], 100);
  assert.ok(recoveredDomain([-20, 10])[1] < 20);
  assert.ok(recoveredDomain([60, 101])[1] >= 101);
  assert.deepEqual(recoveredDomain([]), [-10, 110 - 10]);
});

test('Pareto: intervals are lines through their points, where there are any', () => {
  const intervals = { l0: [18, 22], loss_recovered: [0.94, 0.96] } satisfies EvalRecord['intervals'];
  const svg = pareto(entries({ intervals }, { sae: 'b', l0: 40 }, { sae: 'c', intervals: { l0: [Number.NaN, 3] } }));
  const lines = marks(svg, 'interval').map((element) =>
    element
      .getAttribute('d')!
      .match(/-?[\d.]+/g)!
      .map(Number),
  );
  assert.equal(lines.length, 2);
  const point = place(marks(svg, 'point').find((element) => element.getAttribute('data-sae') === '1')!);
  const [up, across] = [lines.find(([x1, , x2]) => x1 === x2)!, lines.find(([, y1, , y2]) => y1 === y2)!];
  assert.ok(Math.abs(up[0]! - point[0]) < 0.02 && up[1]! > point[1] && up[3]! < point[1]);
  assert.ok(Math.abs(across[1]! - point[1]) < 0.02 && across[0]! < point[0] && across[2]! > point[0]);
  assert.ok(!svg.text.includes('– to'), 'half an interval is none');
  assert.match(svg.text, /L0 20\.0 \(18\.0 to 22\.0\), loss recovered 95\.00 % \(94\.00 to 96\.00\)/);
});

test('Pareto: one SAE has a point, no line; one that was not measured is named, not drawn', () => {
  const one = pareto(entries({ l0: 31 }));
  assert.equal(marks(one, 'curve').length, 0);
  assert.equal(marks(one, 'point').length, 1);
  const odd = entries({ sae: 'good' }, { sae: 'bad', l0: Number.NaN }, { sae: 'dead', l0: 0 });
  assert.equal(marks(pareto(odd), 'point').length, 1);
  const said = notDrawn(pointsOf(odd, 'loss_recovered'), 'loss recovered');
  assert.match(said, /gated, dead, because [^;]*; gated, bad, because /);
  const reasons = { loss_recovered: 'the site does not matter' };
  const without = { loss_recovered: Number.NaN, reasons };
  const pointless = entries({ sae: 'r/a', ...without }, { sae: 'r/b', ...without }, { sae: 'r/c' });
  assert.equal(
    notDrawn(pointsOf(pointless, 'loss_recovered'), 'loss recovered'),
    'Not drawn: gated, a and gated, b, because the site does not matter.',
  );
  assert.equal(marks(pareto(entries({ l0: Number.NaN })), 'point').length, 0);
});

test('Pareto: a few points have their names next to them, many do not', () => {
  assert.deepEqual(
    marks(pareto(entries({ sae: 'r/one', l0: 10 }, { sae: 'r/two', l0: 90 })), 'label').map(
      ({ textContent }) => textContent,
    ),
    ['gated, two', 'gated, one'],
  );
  assert.equal(marks(pareto(entriesOf(sweep())), 'label').length, 0);
});

test('Pareto: one panel per hook, and the families in the key', () => {
  const svg = pareto(entriesOf(fullSweep()));
  assert.equal(elements(svg, '#figure-1 > svg').length, 1 + 3);
  assert.equal(occurrences(svg, '↖ better'), 3);
  assert.equal(occurrences(svg, '>blocks.2.hook_mlp_out<'), 1);
  assert.equal(marks(svg, 'point').length, 30);
  assert.equal(marks(svg, 'curve').length, 6);
  assert.equal(marks(svg, 'interval').length, 60);
  assert.deepEqual(
    elements(svg, '#figure-1 > svg:first-of-type text').map(({ textContent }) => textContent),
    ['gated', 'standard'],
  );
});

test('Pareto: a panel without a value says so, and has no numbers on its axes', () => {
  const text = pareto(
    entries({ hook: 'a', loss_recovered: 0.9 }, { hook: 'b', loss_recovered: Number.NaN }),
  ).toString();
  assert.equal(text.split('no value here').length, 2);
  assert.equal(text.split('x-axis tick label').length, 2);
});

test('Pareto and shrinkage: an ablation is a separate curve', () => {
  const cfg = { architecture: 'gated', metadata: { sae_pipe: { ablate: ['no-r-mag'] } } };
  const all = entries({ sae: 'a', l0: 5 }, { sae: 'b', l0: 50 }, { sae: 'c', cfg, l0: 5 }, { sae: 'd', cfg, l0: 50 });
  for (const svg of [pareto(all), shrinkageFigure(pointsOf(all, 'relative_reconstruction_bias'))]) {
    assert.equal(marks(svg, 'curve').length, 2);
    assert.ok(svg.text.includes('>gated, no r_mag<'));
  }
});

test('shrinkage: one symbol per SAE at its γ, below the line at 1 if it shrinks', () => {
  const all = entries(
    { sae: 'a', l0: 10, relative_reconstruction_bias: 0.8 },
    { sae: 'b', l0: 10, relative_reconstruction_bias: 1 },
  );
  const svg = shrinkageFigure(pointsOf(all, 'relative_reconstruction_bias'));
  const [shrunk, right] = ['0', '1'].map((index) =>
    place(marks(svg, 'point').find((point) => point.getAttribute('data-sae') === index)!),
  );
  const level = Number(elements(svg, '[stroke-dasharray="2 3"] line')[0]!.getAttribute('y1'));
  assert.ok(shrunk![1] > right![1]);
  assert.ok(Math.abs(right![1] - level) < 0.02, 'γ = 1 lies on the line');
  assert.match(svg.text, /a: L0 10\.0, γ 0\.800/);
});

test('training curves: five panels, one line per SAE in each, at most 400 points', () => {
  const [a, b] = entriesOf([
    { record: evalRecord({ sae: 'a' }), curve: curve(2000) },
    { record: evalRecord({ sae: 'b', architecture: 'standard' }), curve: curve(3) },
  ]);
  const svg = trainingCurvesFigure([a!, b!])!;
  for (const title of ['L0', 'Explained variance', 'Loss (log scale)', 'Dead features (%)', 'Learning rate']) {
    assert.ok(svg.text.includes(`>${title}<`), title);
  }
  const paths = elements(svg, '[data-mark="curve"]').map((element) => element.getAttribute('d')!);
  assert.equal(paths.length, 10);
  assert.ok(paths.every((path) => path.split('L').length <= 400));
  assert.ok(paths.some((path) => path.split('L').length === 400));
  assert.equal(elements(svg, 'path.hit').length, 10);
  assert.equal(elements(svg, '[clip-path] [data-mark="curve"]').length, 10);
  // Both are named at the end of their lines in the four panels of two columns.
  assert.equal(elements(svg, '[data-mark="line-names"] text').length, 8);
});

test('training curves: with many SAEs the ends of each family are named, in the left column', () => {
  const hook = 'blocks.2.hook_resid_post';
  const oneSite = fullSweep().map(({ record, curve: lines }) => ({ record: { ...record, hook }, curve: lines }));
  const svg = trainingCurvesFigure(entriesOf(oneSite))!;
  assert.equal(elements(svg, '[data-mark="curve"]').length, 150);
  assert.equal(elements(svg, '[data-mark="line-names"] text').length, 2 * 4);
  assert.ok(svg.text.includes('>gated, L0 6 to 117<'));
});

test('training curves: each site has its panels, below its name, with all of its lines named', () => {
  const all = entriesOf(fullSweep());
  const svg = trainingCurvesFigure(all)!;
  assert.equal(elements(svg, '[data-mark="curve"]').length, 150);
  assert.equal(elements(svg, '[data-mark="line-names"] text').length, 2 * 30);
  const names = [...svg.text.matchAll(/font-weight="600"[^>]*>([^<]+)</g)].map(([, name]) => name);
  assert.deepEqual(names, [...new Set(all.map(({ site }) => site))]);
  const first = svg.text.split(`>${names[1]}<`)[0]!;
  const shown = new Set(elements(`${first}</svg>`, '[data-mark="curve"]').map((line) => line.getAttribute('data-sae')));
  assert.deepEqual(
    [...shown].map(Number).sort(),
    all.filter(({ site }) => site === names[0]).map(({ index }) => index),
  );
});

test('training curves: a ruined SAE leaves the axis to the others, and is marked at its edge', () => {
  const [good, ruined] = [
    { explained_variance: 0.8, l0: 30 },
    { explained_variance: -1655, l0: 0 },
  ];
  const svg = trainingCurvesFigure(
    entriesOf([
      {
        record: evalRecord({ sae: 'a' }),
        curve: [...curve(1, { explained_variance: -25 }), ...curve(40, good).slice(1)],
      },
      { record: evalRecord({ sae: 'b', architecture: 'standard', l0: 0 }), curve: curve(40, ruined) },
    ]),
  )!;
  const marks = elements(svg, '[data-mark="clipped"]');
  assert.deepEqual(
    marks.map((mark) => [mark.getAttribute('data-sae'), mark.textContent.slice(0, 1)]),
    [['1', '▾']],
  );
  assert.ok(svg.text.includes('>standard (\u22121,660)<'));
});

test('axes: limits are those after the start, rare values left out; a run that is worse than the mean does not set them', () => {
  const points = (values: readonly number[]) => values.map((value, i) => ({ tokens: i + 1, value }));
  const variance = { title: '', value: () => 0, log: 'never', fromZero: false, cut: true, floor: -0.1 } as const;
  const rising = Array.from({ length: 400 }, (_, i) => (i < 10 ? -25 + i : 0.5 + i / 1000));
  const [low, high] = yAxis([points(rising)], variance).domain;
  assert.ok(low > 0.4 && low < 0.53 && high > 0.89 && high < 0.95, `${low} ${high}`);
  const bad = points(Array.from({ length: 400 }, () => -1655));
  const both = yAxis([points(rising), bad], variance);
  assert.ok(both.domain[0] > -0.3 && both.domain[0] <= -0.1, `${both.domain}`);
  assert.equal(beyond(-1655, both), 'below');
  assert.equal(beyond(0.5, both), null);
  const alone = yAxis([bad], variance).domain;
  assert.ok(alone[0] < -1655 && alone[1] > -1655, 'alone it is shown');
  const loss = { title: '', value: () => 0, log: 'always', fromZero: false, cut: true } as const;
  const axis = yAxis([points([1e9, ...Array.from({ length: 99 }, (_, i) => 100 - i)])], loss);
  assert.ok(axis.type === 'log' && axis.domain[1] < 200);
  assert.deepEqual([beyond(0, axis), beyond(1e9, axis), beyond(Number.NaN, axis)], ['below', 'above', null]);
  assert.deepEqual(yAxis([points([Number.NaN])], variance).domain, [0, 1]);
});

test('training curves: SAEs without one are left out, and without any there is no figure', () => {
  const all = entriesOf([
    { record: evalRecord({ sae: 'with' }), curve: curve(10) },
    { record: evalRecord({ sae: 'without' }), curve: [] },
  ]);
  assert.deepEqual(
    withoutCurve(all).map(({ name }) => name),
    ['gated, without'],
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
});

test('a resumed run replaces the lines that it repeats', () => {
  const steps = [1, 2, 3, 4, 3, 4, 5];
  const lines = steps.map((step, i) => ({ ...curve(1)[0]!, step, tokens: 1000 * step, loss: i }));
  assert.deepEqual(
    withoutRepeats(lines).map(({ loss }) => loss),
    [0, 1, 4, 5, 6],
  );
});

test('density: bar heights are proportional to the counts, dead features are labelled', () => {
  const svg = densityFigure(entries({}), 'figure-4');
  const bars = elements(svg, '[data-mark="bar"]').map((bar) =>
    ['x', 'width', 'height'].map((name) => Number(bar.getAttribute(name))),
  );
  assert.equal(bars.length, 3);
  const [first, second] = bars as [number[], number[]];
  assert.ok(Math.abs(second[2]! / first[2]! - 3) < 0.01);
  assert.ok(Math.abs(first[0]! + first[1]! - second[0]!) < 0.02, 'bins touch');
  assert.ok(svg.text.includes('12 dead, 2.3 %'));
  const empty = { log10_edges: [-4, 0], counts: [0], dead: 512 };
  assert.ok(densityFigure(entries({ density_histogram: empty }), 'f').text.includes('512 dead, 100.0 %'));
});

test('cross-entropy: a symbol where loss is added, an arrow where none is, dashes for what is missing', () => {
  const svg = crossEntropyFigure(
    entries(
      { sae: 'a', loss_recovered: 0.9, intervals: { delta_ce: [0.9, 1.1] } },
      { sae: 'b', ce_spliced: 2.4, loss_recovered: 1.01 },
      { sae: 'c', ce_zero: Number.NaN, loss_recovered: Number.NaN, ce_spliced: 2.6 },
    ),
    'figure-5',
  );
  assert.equal(occurrences(svg, '>◂<'), 1);
  assert.equal(elements(svg, '[data-mark="point"]').length, 2);
  assert.equal(elements(svg, '[data-mark="recovered"]').length, 2);
  assert.equal(elements(svg, '[data-mark="zero"]').length, 2);
  assert.equal(elements(svg, '[data-mark="interval"]').length, 1);
  assert.equal(occurrences(svg, '>–<'), 2);
  assert.ok(svg.text.includes('a: 1.0000 nats added by splicing, 10.0000 by zero-ablation'));
  const nothing = entries({ ce_clean: Number.NaN, ce_spliced: Number.NaN, ce_zero: Number.NaN });
  assert.doesNotMatch(crossEntropyFigure(nothing, 'f').text, /NaN|Infinity/);
});

test('loss by position: one clean line per site, one line per SAE, gaps where nothing was counted', () => {
  const loss_by_position = { edges: [1, 5, 9], ce_clean: [3, 2], ce_spliced: [3.5, 2.5], ce_zero: [9, 9] };
  const gap = {
    edges: [1, 5, 9, 13],
    ce_clean: [3, Number.NaN, 2],
    ce_spliced: [4, Number.NaN, 3],
    ce_zero: [9, Number.NaN, 9],
  };
  const svg = lossByPositionFigure(
    entries({ loss_by_position }, { sae: 'b', loss_by_position: gap }, { sae: 'c' }),
    'figure-6',
  )!;
  assert.equal(elements(svg, '[data-mark="clean"]').length, 1);
  assert.deepEqual(
    elements(svg, '[data-mark="spliced"]').map((element) => element.getAttribute('data-sae')),
    ['0', '1'],
  );
  assert.doesNotMatch(svg.text, /NaN/);
  assert.equal(lossByPositionFigure(entries({}), 'figure-6'), null);
  assert.equal(elements(lossByPositionFigure(entriesOf(fullSweep()), 'figure-6')!, '[data-mark="spliced"]').length, 30);
});

test('L0 over tokens: shares add up at the largest number of each bin', () => {
  const histogram = (counts: number[]) => entries({ l0_histogram: { edges: [0, 2, 4, 6], counts } })[0]!;
  assert.deepEqual(
    distribution(histogram([1, 2, 1])).map(({ l0, share }) => [l0, share]),
    [
      [1, 25],
      [3, 75],
      [5, 100],
    ],
  );
  assert.equal(
    elements(l0DistributionFigure([histogram([1, 2, 1])], 'figure-7')!, '[data-mark="distribution"]').length,
    1,
  );
  assert.equal(l0DistributionFigure([histogram([0, 0, 0])], 'figure-7'), null);
  assert.equal(l0DistributionFigure(entries({}), 'figure-7'), null);
  assert.equal(
    elements(l0DistributionFigure(entriesOf(fullSweep()), 'figure-7')!, '[data-mark="distribution"]').length,
    30,
  );
});

test('figures are named and described for screen readers', () => {
  const all = entriesOf(fullSweep());
  const figures = [
    pareto(all),
    shrinkageFigure(pointsOf(all, 'relative_reconstruction_bias')),
    trainingCurvesFigure(all, 'figure-3')!,
    densityFigure(all, 'figure-4'),
    crossEntropyFigure(all, 'figure-5'),
    lossByPositionFigure(all, 'figure-6')!,
    l0DistributionFigure(all, 'figure-7')!,
  ];
  for (const svg of figures) {
    assert.match(svg.text, /^<svg [^>]*role="img"[^>]*aria-labelledby="(figure-\d)-title \1-desc"/);
    assert.match(svg.text, /<title id="figure-\d-title">[^<]+<\/title>\n<desc id="figure-\d-desc">[^<]+<\/desc>/);
    assert.doesNotMatch(svg.text, /NaN|undefined|Infinity/);
  }
});

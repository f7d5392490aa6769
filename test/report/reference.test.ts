import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { entriesOf } from '../../src/report/entries.js';
import {
  checkReference,
  hookOf,
  paperFigure,
  publishedSaes,
  readReference,
  referencePoints,
  sitesByHook,
} from '../../src/report/reference.js';
import { renderReport } from '../../src/report/report.js';
import { elements, entries, evalRecord, sweep } from './sample.js';

let saes: Awaited<ReturnType<typeof readReference>>;
before(async () => {
  saes = await readReference('paper-gemma-7b');
});

test('every row of the table is read', () => {
  const lines = readFileSync('assets/paper/gemma-7b.csv', 'utf8').trim().split('\n');
  assert.equal(saes.length, lines.length - 1);
  const first = lines.find((line) => line.startsWith('gated,attn_z'))!.split(',');
  const read = saes.find(({ arch, site }) => arch === 'gated' && site === 'attn_z')!;
  assert.deepEqual(
    [read.layer, read.l0, read.loss_recovered, read.gamma].map(String),
    [2, 5, 6, 12].map((i) => String(Number(first[i]))),
  );
  assert.deepEqual(
    new Set(saes.map(hookOf)),
    new Set([
      'blocks.6.hook_resid_post',
      'blocks.13.hook_resid_post',
      'blocks.20.hook_resid_post',
      'blocks.20.hook_mlp_out',
      'blocks.20.attn.hook_z',
    ]),
  );
});

test('a malformed table is refused by its row and column', () => {
  const head = 'arch,site,layer,l0,loss_recovered,gamma';
  assert.equal(publishedSaes(`${head}\ngated,resid,6,4.3,0.97,1.0\n`, 'a.csv').length, 1);
  for (const [row, place] of [
    ['gated,resid,6,4.3,,1.0', /a\.csv: 0\.loss_recovered/],
    ['gated,resid,6,many,0.9,1.0', /a\.csv: 0\.l0/],
    ['topk,resid,6,1,0.9,1.0', /a\.csv: 0\.arch/],
    ['gated,resid', /a\.csv: 0\.layer/],
  ] as const) {
    assert.throws(
      () => publishedSaes(`${head}\n${row}`, 'a.csv'),
      (error) => error instanceof Refusal && place.test(error.message),
    );
  }
});

test('published points are in the panels of their hooks, faint, and their γ in the second figure', () => {
  const report = entries({ hook: 'blocks.20.hook_mlp_out', model: 'gemma-7b' }, { hook: 'blocks.3.hook_mlp_out' });
  const sites = sitesByHook(report);
  const points = referencePoints(saes, sites, 'loss_recovered', 'paper');
  const published = saes.filter(({ site }) => site === 'mlp_out');
  assert.equal(points.length, published.length);
  assert.ok(points.every(({ index, site }) => index === null && site.endsWith('blocks.20.hook_mlp_out')));
  assert.deepEqual(
    referencePoints(saes, sites, 'gamma', 'paper').map(({ value }) => value),
    published.map(({ gamma }) => gamma),
  );
});

test('a report with a reference draws it next to the evaluation’s points and compares it', () => {
  const evaluation = sweep().map(({ record, curve }) => ({
    record: evalRecord({ ...record, hook: 'blocks.20.attn.hook_z' }),
    curve,
  }));
  const page = renderReport(evaluation, { reference: { name: 'paper-gemma-7b', saes } });
  const published = saes.filter(({ site }) => site === 'attn_z').length;
  for (const figure of ['#figure-1', '#figure-2']) {
    const panel = `${figure} > svg:not(:first-of-type)`;
    assert.equal(elements(page, `${panel} [data-mark="point"]`).length, 5);
    assert.equal(elements(page, `${panel} [data-mark="reference"]`).length, published);
    assert.equal(elements(page, `${panel} [data-mark="reference-curve"]`).length, 2);
  }
  assert.match(page, /blocks\.20\.attn\.hook_z \(Gemma 7B in the paper\) have 0\.\d\d times/);
  assert.match(page, /Faint: Gemma 7B in the paper \(arXiv 2404\.16014/);
  // An ordinary report has none of it.
  assert.equal(elements(renderReport(evaluation), '[data-mark^="reference"]').length, 0);
});

test('a reference that has no points for the hooks is refused', () => {
  const own = entriesOf(sweep());
  assert.throws(
    () => checkReference(saes, own, 'paper-gemma-7b'),
    (error) => {
      assert.ok(error instanceof Refusal && error.remedy);
      assert.match(error.message, /no points for blocks\.1\.hook_resid_post; it has .*blocks\.20\.attn\.hook_z/);
      return true;
    },
  );
});

test('the paper’s figure has a panel for each site and layer, every point, and the ratio of each panel', () => {
  const { svg, table, sentences } = paperFigure(saes);
  assert.equal(elements(svg, '#figure-1 > svg').length, 1 + 5);
  assert.equal(elements(svg, '#figure-1 > svg:not(:first-of-type) [data-mark="point"]').length, saes.length);
  assert.equal(elements(svg, '[data-mark="curve"]').length, 10);
  for (const heading of ['Residual stream, layer 6', 'Attention output before W_O, layer 20', 'MLP output, layer 20']) {
    assert.ok(svg.text.includes(`>${heading}<`), heading);
  }
  assert.equal(svg.text.match(/firing ratio 0\.\d\d/g)?.length, 4);
  assert.equal(sentences.length, 6);
  assert.match(sentences[4]!, /MLP output, layer 20 the curves do not overlap/);
  assert.match(sentences[5]!, /^Geometric mean over 4 sites: 0\.\d\d\.$/);
  assert.ok(table!.text.includes('Residual stream, layer 13'));
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { entriesOf, flattened } from '../../src/report/entries.js';
import { coordinate, escapeText, markup } from '../../src/report/page.js';
import { renderReport } from '../../src/report/report.js';
import { furtherTable, headlineTable } from '../../src/report/sae-tables.js';
import { curve, elements, entries, evalRecord, fullSweep, occurrences, sweep } from './sample.js';

/** A page with everything, drawn once. */
const FULL = renderReport(fullSweep());

test('interpolated text is escaped, markup is kept', () => {
  assert.equal(escapeText(`<a href="x" title='y'>&`), '&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;');
  assert.equal(escapeText('a\u0000b\u001b\u0085\n'), 'a\uFFFDb\uFFFD\uFFFD\n');
  assert.equal(escapeText('\uFFFE \uD800 \uDC00x \u{1FFFF} \uFDD0 😀'), '\uFFFD \uFFFD \uFFFDx \uFFFD \uFFFD 😀');
  const inner = markup`<b>${'1 < 2'}</b>`;
  assert.equal(
    markup`<p title="${'"'}">${inner}${[inner, null]}${1 / 3}</p>`.text,
    '<p title="&quot;"><b>1 &lt; 2</b><b>1 &lt; 2</b>0.33</p>',
  );
  assert.throws(() => coordinate(Number.NaN), RangeError);
});

test('names and settings cannot put markup into the page', () => {
  const attack = '"><script>alert(1)</script><img src=x onerror=alert(2)>';
  const page = renderReport(
    [
      {
        record: evalRecord({
          sae: `runs/${attack}`,
          architecture: attack,
          hook: attack,
          model: attack,
          cfg: { [attack]: attack, l1: 1 },
        }),
        curve: curve(3),
      },
      { record: evalRecord({ sae: attack }), curve: [] },
    ],
    { title: attack, generator: attack },
  );
  assert.equal(occurrences(page, '<script'), 1, 'only the script of the page itself');
  assert.equal(occurrences(page, '<img'), 0);
  assert.ok(page.includes('&lt;script&gt;alert(1)'));
});

test('the page loads nothing', () => {
  const page = FULL;
  assert.doesNotMatch(page, /https?:\/\//);
  assert.doesNotMatch(page, /<link|<iframe|@import|url\((?!#)|\ssrc=/);
  assert.ok(page.startsWith('<!doctype html>'));
});

test('equal input gives equal bytes, and a footer only on request', () => {
  for (const sample of [sweep, fullSweep]) {
    const page = renderReport(sample());
    assert.equal(renderReport(sample()), page);
    assert.doesNotMatch(page, /<footer>|NaN|undefined|Infinity/);
  }
  assert.match(renderReport(sweep(), { generator: 'sae-pipe 0.1.0' }), /<footer>sae-pipe 0\.1\.0</);
});

test('the page opens with its result in a sentence and has its parts in order', () => {
  const page = renderReport(sweep(), { source: { evaluation: 'e', out: 'p.html' } });
  assert.ok(
    page.includes('5 SAEs (2 gated, 3 standard) at blocks.1.hook_resid_post of tiny-gemma, evaluated on 4,096 tokens.'),
  );
  const parts = [
    '<h1>',
    'class="result"',
    'Figure 1.',
    'Table 1.',
    'Figure 2.',
    'Figure 3.',
    'Figure 4.',
    'Figure 5.',
    '<h2>Commands',
    '<h2>Definitions',
    '<h2>Configuration',
  ];
  const places = parts.map((part) => page.indexOf(part));
  assert.ok(!places.includes(-1), `${places}`);
  assert.deepEqual(
    [...places].sort((a, b) => a - b),
    places,
  );
  assert.equal(occurrences(page, '<details'), 5);
  assert.match(page, /means exclude BOS positions/);
});

test('every id is given once', () => {
  const ids = [...FULL.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id);
  assert.equal(new Set(ids).size, ids.length);
});

test('missing curves are reported, for one SAE and for all', () => {
  const [first, ...rest] = sweep();
  const some = renderReport([{ ...first!, curve: [] }, ...rest]);
  assert.ok(some.includes('No training curve came with gated, gated-10.'));
  const none = renderReport(sweep().map(({ record }) => ({ record, curve: [] })));
  assert.ok(none.includes('There are no training curves'));
  assert.ok(!none.includes('id="figure-3"'));
});

test('the table has one row per SAE with rounded values, and a dash for a missing one', () => {
  const table = headlineTable(entries({ loss_recovered: 0.9512, l0: 1234.56, kl: Number.NaN, d_sae: 16384 })).text;
  const cells = [...table.matchAll(/<td class="number" data-value="[^"]*">([^<]*)<\/td>/g)].map(([, text]) => text);
  assert.deepEqual(cells, ['0.5', '16,384', '1,234.6', '95.12', '0.4880', '–', '0.812', '–', '0.913', '0.987', '2.34']);
  assert.match(table, /title="Mean number of active features per token\."[^>]*><span class="title">L0</);
  const two = headlineTable(entries({ hook: 'blocks.0.hook_mlp_out' }, { hook: 'blocks.1.hook_mlp_out' }));
  assert.equal(occurrences(two, 'scope="rowgroup"'), 2);
});

test('settings in which the SAEs differ are a table', () => {
  assert.deepEqual(
    [...flattened({ a: 1, b: { c: 'x', d: { e: [1, 2] } }, f: null })],
    [
      ['a', '1'],
      ['b.c', 'x'],
      ['b.d.e', '[1,2]'],
      ['f', 'null'],
    ],
  );
  const differ = renderReport([
    { record: evalRecord({ cfg: { training: { l1: 0.25 }, d_sae: 512 } }), curve: [] },
    { record: evalRecord({ cfg: { training: { l1: 0.75 }, d_sae: 512 } }), curve: [] },
  ]);
  assert.match(differ, /<th scope="col" title="training\.l1"><span class="title">l1<\/span><\/th><\/tr>/);
  assert.ok(differ.includes('<td data-value="0.75">0.75</td>'));
  assert.ok(!renderReport([{ record: evalRecord(), curve: [] }]).includes('Differences between the SAEs'));
});

test('twenty SAEs, and one that measured nothing, make a page', () => {
  const many = Array.from({ length: 20 }, (_, i) => ({
    record: evalRecord({
      sae: `r/${i}`,
      l0: 2 ** (i / 2),
      architecture: ['gated', 'standard', 'topk', 'jumprelu'][i % 4]!,
    }),
    curve: curve(i),
  }));
  assert.doesNotMatch(renderReport(many), /NaN|Infinity/);
  assert.equal(entriesOf(many).length, 20);
  const nothing = evalRecord();
  for (const key of Object.keys(nothing) as (keyof typeof nothing)[]) {
    if (typeof nothing[key] === 'number' && !['tokens', 'd_in', 'd_sae'].includes(key))
      Object.assign(nothing, { [key]: Number.NaN });
  }
  assert.doesNotMatch(
    renderReport([{ record: nothing, curve: curve(3, { l0: Number.NaN, lr: Number.NaN }) }]),
    /NaN|Infinity/,
  );
});

test('sortable values carry their numbers, and intervals are below them', () => {
  const table = headlineTable(
    entries({ loss_recovered: 0.95, kl: Number.NaN, intervals: { loss_recovered: [0.94, 0.961] } }),
  );
  const cells = elements(`<table>${table}</table>`, 'tbody td.number');
  const values = cells.map((cell) => cell.getAttribute('data-value'));
  assert.deepEqual([values[3], values[5]], ['95', '']);
  assert.equal(cells[3]!.textContent, '95.0094.00 – 96.10');
  assert.equal(occurrences(table, 'class="interval"'), 1);
  assert.match(FULL, /The band at a symbol is its 95 % interval/);
  assert.doesNotMatch(renderReport(sweep()), /The band at a symbol|Below each value is|Lines through a point/);
});

test('the reason for a missing value is below its table, once for all that share it', () => {
  const [matter, bias] = ['the site does not matter', 'no component along the activation'];
  const without = { loss_recovered: Number.NaN, loss_recovered_mean: Number.NaN };
  const reasons = { loss_recovered: matter, loss_recovered_mean: matter };
  const two = entries(
    { ...without, reasons, intervals: { loss_recovered: [Number.NaN, Number.NaN] } },
    {
      ...without,
      relative_reconstruction_bias: Number.NaN,
      reasons: { ...reasons, relative_reconstruction_bias: bias },
    },
  );
  const cells = (table: unknown, selector: string) =>
    elements(`<table>${table}</table>`, selector).map(({ textContent }) => textContent);
  const marked = (table: unknown) => cells(table, 'tbody td').filter((text) => /^–\d$/.test(text));
  assert.deepEqual(marked(headlineTable(two)), ['–1', '–1', '–2']);
  assert.deepEqual(cells(headlineTable(two), 'tfoot p sup'), ['1', '2']);
  assert.ok(cells(headlineTable(two), 'tfoot p')[0]!.includes(matter));
  assert.deepEqual(marked(furtherTable(two)), ['–1', '–1']);
  assert.equal(cells(headlineTable(entries({})), 'tfoot').length, 0);
  const page = renderReport(two.map(({ record, curve }) => ({ record, curve })));
  assert.ok(elements(page, '.result')[0]!.textContent.includes(matter));
  // There is no picture without a point.
  assert.ok(elements(page, 'p.absent')[0]!.textContent.includes(matter));
  assert.equal(elements(page, '#figure-1').length, 0);
});

test('a page of a text that is foreign to the model says so at its beginning', () => {
  const warned = (unigram_entropy: number) =>
    elements(renderReport([{ record: evalRecord({ ce_clean: 7.73, unigram_entropy }), curve: [] }]), 'header .foreign');
  assert.ok(warned(6.1)[0]!.textContent.includes('7.73'));
  assert.equal(warned(8).length, 0);
});

test('what newer evaluations measure is a second table, of the columns that there are', () => {
  assert.equal(furtherTable(entries({})), null);
  assert.equal(furtherTable(entries({ ce_mean: Number.NaN, loss_recovered_mean: null })), null);
  const table = furtherTable(entries({ norm_ratio: 0.9123 }, { decoder_max_cosine: { mean: 0.3, largest: 0.97 } }))!;
  const heads = elements(`<table>${table}</table>`, 'thead .title').map(({ textContent }) => textContent);
  assert.deepEqual(heads, ['SAE', '|x̂| / |x|', 'Decoder cosine, mean', 'Decoder cosine, largest']);
  assert.match(table.text, />0\.912<.*>–<.*>–</);
  for (const part of ['Table 2.', 'Table 3.', 'Figure 6.', 'Figure 7.']) assert.ok(FULL.includes(part), part);
  const old = renderReport(sweep());
  for (const part of ['Table 3.', 'Figure 6.', 'Figure 7.']) assert.ok(!old.includes(part), part);
});

test('figures and tables name the stages, whose commands are shown once in full; none has a gap', () => {
  const source = { evaluation: 'runs/my eval', out: 'page.html' };
  const command = { directory: '/home/me', words: ['--sae', 'runs/s', '--tokens', '50'] };
  const sweep = { stage: 'sweep' as const, directory: '/home/me', words: ['--config', 'a.yaml', '--out', 'runs'] };
  const saes = fullSweep().map(({ record, curve }) => ({ record: { ...record, command, training: sweep }, curve }));
  const page = renderReport(saes, { source });
  assert.equal(elements(page, 'figcaption .made a[href="#commands"]').length, 3 + 7);
  const commands = elements(page, '#commands pre').map(({ textContent }) => textContent);
  assert.equal(commands.length, 3);
  assert.match(
    commands[0]!,
    /sae-pipe eval \\\n {4}--sae runs\/s .*\nsae-pipe report 'runs\/my eval' --out page\.html/s,
  );
  assert.match(commands[1]!, /sae-pipe features \\\n {4}--sae runs\/s .*\nsae-pipe explore runs\/features/s);
  assert.match(commands[2]!, /sae-pipe sweep \\\n {4}--config a\.yaml/);
  for (const text of [page, renderReport(fullSweep(), { source }), renderReport(fullSweep())]) {
    for (const { textContent } of elements(text, 'code, #commands pre, pre.training, .made')) {
      assert.doesNotMatch(textContent, /…/);
    }
  }
  assert.equal(elements(renderReport(fullSweep()), 'a[href="#commands"]').length, 0);
});

test('the firing ratio is stated, or stated to be missing', () => {
  assert.match(renderReport(sweep()), /gated SAEs at blocks\.1\.hook_resid_post have 0\.\d\d times as many/);
  const apart = renderReport([
    { record: evalRecord({ sae: 'a', loss_recovered: 0.97 }), curve: [] },
    { record: evalRecord({ sae: 'b', architecture: 'standard', loss_recovered: 0.9 }), curve: [] },
  ]);
  assert.match(apart, /do not overlap/);
  assert.ok(!renderReport([{ record: evalRecord(), curve: [] }]).includes('firing-sentences">'));
});

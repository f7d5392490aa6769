import assert from 'node:assert/strict';
import { test } from 'node:test';
import { flattened } from '../../src/report/configuration.js';
import { entriesOf } from '../../src/report/entries.js';
import { coordinate, escapeText, markup } from '../../src/report/markup.js';
import { renderReport } from '../../src/report/report.js';
import { headlineTable } from '../../src/report/table.js';
import { curve, entries, evalRecord, occurrences, sweep } from './sample.js';

test('what is interpolated is escaped, what is markup stands', () => {
  assert.equal(escapeText(`<a href="x" title='y'>&`), '&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;');
  assert.equal(escapeText('a\u0000b\u001b\n'), 'a\uFFFDb\uFFFD\n');
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
  const page = renderReport(sweep());
  assert.doesNotMatch(page, /https?:\/\//);
  assert.doesNotMatch(page, /<link|<iframe|@import|url\((?!#)|\ssrc=/);
  assert.ok(page.startsWith('<!doctype html>'));
});

test('equal input gives equal bytes, and a foot only where one is asked for', () => {
  const page = renderReport(sweep());
  assert.equal(renderReport(sweep()), page);
  assert.doesNotMatch(page, /<footer>|NaN|undefined|Infinity/);
  assert.match(renderReport(sweep(), { generator: 'sae-pipe 0.1.0' }), /<footer>sae-pipe 0\.1\.0</);
});

test('the page opens with a sentence of fact and has its parts in order', () => {
  const page = renderReport(sweep());
  assert.ok(
    page.includes('5 SAEs (2 gated, 3 standard) at blocks.1.hook_resid_post of tiny-gemma, evaluated on 4,096 tokens.'),
  );
  const parts = [
    '<h1>',
    'Table 1.',
    'Figure 1.',
    'Figure 2.',
    'Figure 3.',
    'Figure 4.',
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
  assert.match(page, /BOS positions are left out of every mean/);
});

test('every id is given once', () => {
  const ids = [...renderReport(sweep()).matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id);
  assert.equal(new Set(ids).size, ids.length);
});

test('missing curves are said, for one SAE and for all', () => {
  const [first, ...rest] = sweep();
  const some = renderReport([{ ...first!, curve: [] }, ...rest]);
  assert.ok(some.includes('No training curve came with gated-10.'));
  const none = renderReport(sweep().map(({ record }) => ({ record, curve: [] })));
  assert.ok(none.includes('There are no training curves'));
  assert.ok(!none.includes('id="figure-2"'));
});

test('the table has a row an SAE with rounded values, a dash where one is missing', () => {
  const table = headlineTable(entries({ loss_recovered: 0.9512, l0: 1234.56, kl: Number.NaN, d_sae: 16384 })).text;
  const cells = [...table.matchAll(/<td class="number">([^<]*)<\/td>/g)].map(([, text]) => text);
  assert.deepEqual(cells, ['16,384', '1,234.6', '95.12', '0.4880', '–', '0.812', '0.913', '0.987', '2.34']);
  assert.match(table, /title="Mean number of active features a token\."[^>]*>L0/);
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
  assert.match(differ, /<th scope="col" title="training\.l1">l1<\/th><\/tr>/);
  assert.ok(differ.includes('<td>0.75</td>'));
  assert.ok(!renderReport([{ record: evalRecord(), curve: [] }]).includes('Where the SAEs differ'));
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

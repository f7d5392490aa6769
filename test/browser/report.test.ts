import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { entriesOf } from '../../src/report/entries.js';
import { scriptHash } from '../../src/report/page.js';
import { renderReport } from '../../src/report/report.js';
import { elements, fullSweep } from '../report/sample.js';
import { temporaryDirectory } from '../temporary.js';
import { skip, visited } from './headless.js';

/** Runs when the page has loaded: what went wrong, what is there, and what sorting does. */
const PROBE = `
addEventListener('load', () => setTimeout(async () => {
const rows = (table) => [...table.tBodies].map((body) => [...body.rows].map((row) => row.classList.contains('group') ? 'group' : row.dataset.sae));
const table = document.querySelector('table.sortable');
const heads = [...table.tHead.rows[0].cells];
const column = (title) => heads.find((head) => head.textContent.includes(title));
const before = rows(table);
column('L0').click();
const up = rows(table);
column('L0').dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' }));
const down = rows(table);
column('SAE').click();
const byName = rows(table);
const boxes = Object.fromEntries([...document.querySelectorAll('svg.plot')].map((svg) => {
  const marks = [...svg.querySelectorAll('[data-mark]')].map((mark) => mark.getBoundingClientRect());
  const box = svg.getBoundingClientRect();
  return [svg.id, {
    width: box.width,
    marks: marks.length,
    seen: marks.filter(({ width, height }) => width + height > 0).length,
    inside: marks.filter(({ left, right, top, bottom }) => left > box.left - 1 && right < box.right + 1 && top > box.top - 1 && bottom < box.bottom + 1).length,
  }];
}));
const saved = [];
URL.createObjectURL = (blob) => { saved.push(blob); return '#saved'; };
for (const button of document.querySelectorAll('button.save')) button.click();
const files = await Promise.all(saved.map((blob) => blob.text()));
document.body.dataset.probe = JSON.stringify({
  problems: window.problems,
  requests: performance.getEntriesByType('resource').map(({ name }) => name),
  sorted: heads.map((head) => head.getAttribute('aria-sort')),
  before, up, down, byName, boxes,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  paper: getComputedStyle(document.body).backgroundColor,
  saves: [...document.querySelectorAll('button.save')].filter((button) => !button.hidden).length,
  files: files.map((file) => ({ start: file.slice(0, 40), unresolved: file.match(/var\\(|currentColor|class=|<path[^>]*stroke="rgba\\(0, 0, 0, 0\\)/g), blue: file.includes('rgb(0, 114, 178)'), marks: file.split('data-mark').length - 1 })),
});
}, 300));
`;

/** Runs before anything else of the page. */
const WATCH = `window.problems = [];
addEventListener('error', (event) => problems.push(event.message));
addEventListener('securitypolicyviolation', (event) => problems.push(event.violatedDirective + ' ' + event.blockedURI));`;

interface Probe {
  problems: string[];
  requests: string[];
  sorted: (string | null)[];
  before: string[][];
  up: string[][];
  down: string[][];
  byName: string[][];
  boxes: Record<string, { width: number; marks: number; seen: number; inside: number }>;
  overflow: number;
  paper: string;
  saves: number;
  files: { start: string; unresolved: string[] | null; blue: boolean; marks: number }[];
}

/** What forbids the page to load anything. */
const POLICY = /<meta http-equiv="Content-Security-Policy"[^>]*>/;

const root = temporaryDirectory();
const evaluation = fullSweep();
const html = renderReport(evaluation, { source: { evaluation: 'runs/eval', out: 'report.html' } });

/** The page in a browser: what the probe found, and what was printed on the console. */
async function visit(page: string, ...flags: string[]): Promise<{ probe: Probe; console: string[] }> {
  const file = join(root, 'page.html');
  // The page's policy runs its own script only; the browser is to run these two as well.
  const allowed = page.replace('script-src ', `script-src ${scriptHash(WATCH)} ${scriptHash(PROBE)} `);
  const watched = allowed.replace('<head>', `<head><script>${WATCH}</script>`);
  writeFileSync(file, watched.replace('</body>', `<script>${PROBE}</script></body>`));
  return visited<Probe>(pathToFileURL(file).href, join(root, 'profile'), ...flags, '--virtual-time-budget=3000');
}

let found: Awaited<ReturnType<typeof visit>>;
before(async () => {
  if (!skip) found = await visit(html);
});

test('the page renders without console output or network requests', { skip }, async () => {
  assert.deepEqual(found.probe.problems, []);
  assert.deepEqual(found.console, []);
  assert.ok(found.probe.overflow <= 0, 'nothing is wider than the window');
  assert.equal(found.probe.saves, 7);
  // Without its policy, too, which would forbid what the page should not even try.
  const { probe, console } = await visit(html.replace(POLICY, ''));
  assert.deepEqual([...found.probe.requests, ...probe.requests], []);
  assert.deepEqual([...probe.problems, ...console], []);
});

test('the watching of console and network works', { skip }, async () => {
  assert.match(html, POLICY);
  const wrong = html.replace(
    '</main>',
    '<img src="https://localhost:9/x.png"></main><script>console.error("told"); undefinedName;</script>',
  );
  const forbidden = await visit(wrong);
  assert.ok(forbidden.probe.problems.some((problem) => /img-src/.test(problem)));
  assert.ok(
    forbidden.probe.problems.some((problem) => /^script-src-elem/.test(problem)),
    'a script that is not ours',
  );
  const said = ({ probe, console }: typeof forbidden) => [...probe.problems, ...console].join('\n');
  assert.doesNotMatch(said(forbidden), /undefinedName|told/);
  const allowed = await visit(wrong.replace(POLICY, ''));
  assert.ok(allowed.probe.problems.some((problem) => /undefinedName/.test(problem)));
  assert.ok(allowed.console.some((line) => /told/.test(line)));
  assert.deepEqual(allowed.probe.requests, ['https://localhost:9/x.png']);
});

test('every figure has its marks, inside it and visible', { skip }, () => {
  const { boxes } = found.probe;
  assert.deepEqual(
    Object.keys(boxes),
    Array.from({ length: 7 }, (_, i) => `figure-${i + 1}`),
  );
  for (const [id, { width, marks, seen, inside }] of Object.entries(boxes)) {
    assert.equal(marks, elements(html, `#${id} [data-mark]`).length);
    assert.ok(width > 500 && marks >= 30, `${id}: ${width} wide, ${marks} marks`);
    assert.equal(seen, marks, `${id}: marks without extent`);
    // Clipped lines may reach out of their plot unseen.
    assert.ok(inside >= (/[67]/.test(id) ? 0.9 : 1) * marks, `${id}: ${marks - inside} of ${marks} marks lie outside`);
  }
});

test('a click on a column head sorts the rows of each group, a second one the other way', { skip }, () => {
  const { before, up, down, byName, sorted } = found.probe;
  assert.equal(before.length, 3);
  const all = entriesOf(evaluation);
  const l0 = (index: string) => all[Number(index)]!.record.l0;
  for (const [i, group] of before.entries()) {
    const [head, ...rows] = group as [string, ...string[]];
    const ascending = [...rows].sort((a, b) => l0(a) - l0(b));
    assert.deepEqual(up[i], [head, ...ascending]);
    assert.deepEqual(down[i], [head, ...ascending.reverse()]);
    assert.notDeepEqual(up[i], group);
    assert.equal(head, 'group');
    // Names are gated-0 … gated-4, standard-0 …; the page's order is by L0 downwards.
    assert.deepEqual(byName[i], ['group', ...rows.slice(0, 5).reverse(), ...rows.slice(5).reverse()]);
  }
  assert.deepEqual(sorted.filter(Boolean), ['ascending']);
});

test('a saved figure is self-contained, in light colours whatever the page has', { skip }, async () => {
  const { probe } = await visit(html, '--force-dark-mode');
  assert.equal(probe.files.length, 7);
  for (const [i, { start, unresolved, blue, marks }] of probe.files.entries()) {
    assert.match(start, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    assert.equal(unresolved, null);
    assert.ok(blue, 'the colour of gated SAEs');
    assert.equal(marks, elements(html, `#figure-${i + 1} [data-mark]`).length);
  }
});

test('dark readers get a dark page with all of its marks', { skip }, async () => {
  const light = found.probe;
  const { probe } = await visit(html, '--force-dark-mode');
  assert.equal(light.paper, 'rgb(255, 255, 255)');
  assert.equal(probe.paper, 'rgb(21, 23, 26)');
  assert.deepEqual(
    Object.values(probe.boxes).map(({ marks }) => marks),
    Object.values(light.boxes).map(({ marks }) => marks),
  );
});

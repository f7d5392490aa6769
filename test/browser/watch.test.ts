import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { LiveView } from '../../src/watch/live-view.js';
import { FRAGMENT_PATH, watchPage } from '../../src/watch/watch-page.js';
import { WatchedRuns } from '../../src/watch/watched-runs.js';
import { curve } from '../report/sample.js';
import { temporaryDirectory } from '../temporary.js';
import { append, begin, runIn, textOf } from '../watch/runs.js';
import { skip, visited } from './headless.js';

/** Does what a reader does, waits for the server's next answer, and returns what was visible after each. */
const PROBE = `
addEventListener('load', () => {
  const problems = [];
  addEventListener('error', ({ message }) => problems.push(message));
  const rows = () => [...live.querySelectorAll('table.runs tbody tr')];
  const head = (title) => [...live.querySelectorAll('table.runs thead th')].find((one) => one.textContent.includes(title));
  const marks = (row) => [...live.querySelectorAll('svg.plot [data-sae="' + row.dataset.sae + '"]')];
  const states = [];
  const note = () => states.push({
    rows: rows().filter(({ hidden }) => !hidden).map((row) => row.cells[0].title),
    drawn: rows().filter((row) => marks(row).length > 0 && marks(row).every((mark) => mark.getBoundingClientRect().width > 0)).map((row) => row.cells[0].title).sort(),
    undrawn: rows().filter((row) => marks(row).every((mark) => mark.getBoundingClientRect().width === 0)).map((row) => row.cells[0].title).sort(),
    sorted: [...live.querySelectorAll('[aria-sort]')].map((one) => one.textContent + ' ' + one.getAttribute('aria-sort')),
    step: Number(rows()[0].cells[2].dataset.value),
  });
  note();
  head('L0').click();
  note();
  head('L0').dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true }));
  note();
  rows().find((row) => row.cells[0].title === 'b').querySelector('th svg').dispatchEvent(new MouseEvent('click', { bubbles: true }));
  note();
  filter.value = 'GATED';
  filter.dispatchEvent(new Event('input'));
  note();
  new MutationObserver((_, observer) => {
    observer.disconnect();
    note();
    document.getElementById('all').click();
    note();
    document.body.dataset.probe = JSON.stringify({ problems, states, kept: JSON.parse(sessionStorage.getItem('view')) });
  }).observe(live, { childList: true });
});
`;

interface State {
  rows: string[];
  drawn: string[];
  undrawn: string[];
  sorted: string[];
  step: number;
}

test('runs are sorted, hidden and filtered, and stay so when the page updates', { skip }, async (t) => {
  const root = temporaryDirectory(t);
  const runs = [
    ['a', 'gated', 1, 30],
    ['b', 'gated', 2, 10],
    ['c', 'standard', 1, 20],
  ] as const;
  const directories = runs.map(([name, arch, l1, l0]) => {
    const directory = runIn(root, name, 20, { l0 });
    begin(directory, { arch, l1 });
    return directory;
  });
  const drawn = () => new LiveView(new WatchedRuns(root), root, 0).current();
  const [before] = [await drawn()];
  for (const [i, directory] of directories.entries()) {
    // In the other order by L0.
    append(directory, textOf(curve(25, { l0: 1000 - runs[i]![3] }).slice(20)));
  }
  const after = await drawn();
  const page = watchPage('runs', before).replace('</body>', `<script>${PROBE}</script></body>`);
  const server = createServer(({ url }, response) => {
    const isFragment = url === FRAGMENT_PATH;
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    if (isFragment) response.setHeader('ETag', after.tag);
    response.end(isFragment ? after.html : page);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const { probe } = await visited<{ problems: string[]; states: State[]; kept: object }>(
    `http://127.0.0.1:${port}/`,
    join(root, 'profile'),
    '--virtual-time-budget=20000',
  );
  assert.deepEqual(probe.problems, []);
  const [first, up, down, hidden, filtered, refreshed, all] = probe.states;
  assert.deepEqual(first!.drawn, ['a', 'b', 'c']);
  assert.deepEqual(first!.sorted, []);
  assert.deepEqual(up!.rows, ['b', 'c', 'a']);
  assert.match(up!.sorted.join(), /^L0.* ascending$/);
  assert.deepEqual(down!.rows, ['a', 'c', 'b']);
  assert.match(down!.sorted.join(), /^L0.* descending$/);
  assert.deepEqual(hidden!.rows, down!.rows, 'only its curves are hidden');
  assert.deepEqual([hidden!.drawn, hidden!.undrawn], [['a', 'c'], ['b']]);
  assert.deepEqual(filtered!.rows, ['a', 'b']);
  assert.deepEqual([filtered!.drawn, filtered!.undrawn], [['a'], ['b', 'c']]);
  assert.equal(refreshed!.step > filtered!.step, true, 'the answer is a new one');
  assert.deepEqual(refreshed!.rows, ['b', 'a'], 'sorted by the new values');
  assert.deepEqual([refreshed!.drawn, refreshed!.sorted], [['a'], down!.sorted]);
  assert.deepEqual(
    [all!.rows, all!.drawn],
    [
      ['b', 'c', 'a'],
      ['a', 'b', 'c'],
    ],
  );
  assert.deepEqual(probe.kept, { column: 5, direction: -1, hidden: [], filter: '' }, 'for a reload of the tab');
});

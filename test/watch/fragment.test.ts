import assert from 'node:assert/strict';
import { test } from 'node:test';
import { standingOf } from '../../src/status/run-standing.js';
import { drawnEntries, liveFragment, MOST_DRAWN, runCurves } from '../../src/watch/live-view.js';
import type { Seen, WatchedRun } from '../../src/watch/watched-runs.js';
import { curve, occurrences } from '../report/sample.js';

const NOW = 1_700_000_000_000;

function runNamed(
  name: string,
  { lines = 30, silence = 1, ...changes }: Partial<WatchedRun> & { lines?: number; silence?: number } = {},
): WatchedRun {
  const records = curve(lines);
  const settings = changes.settings ?? {
    finished: false,
    architecture: 'gated',
    hook: 'blocks.1.hook_mlp_out',
    steps: 100,
  };
  return {
    directory: `/runs/${name}`,
    settings,
    standing: standingOf(records.slice(-11), settings, NOW - 1000 * silence, NOW),
    curve: records,
    last: records.at(-1),
    unreadable: 0,
    ...changes,
  };
}

const seenOf = (runs: readonly WatchedRun[], more: Partial<Seen> = {}): Seen => ({
  runs,
  complete: true,
  refused: 0,
  version: 1,
  ...more,
});

const fragmentOf = (runs: readonly WatchedRun[], more: Partial<Seen> = {}) =>
  liveFragment(seenOf(runs, more), '/runs', runCurves(runs, '/runs')).text;

test('no run yet, and runs without a line, are shown in words', () => {
  const none = fragmentOf([]);
  assert.match(none, /No run yet: waiting for a metrics\.jsonl\./);
  assert.equal(occurrences(none, '<table'), 0);
  const early = fragmentOf([runNamed('a', { lines: 0 })]);
  assert.match(early, /One run at blocks\.1\.hook_mlp_out, running\./);
  assert.match(early, /<td class="number"[^>]*>0 of 100</);
  assert.equal(occurrences(early, '<figure'), 0);
  assert.equal(occurrences(early, '>–<'), 6);
});

test('a stalled run shows for how long, in minutes', () => {
  const text = fragmentOf([runNamed('a', { silence: 130 }), runNamed('b', { silence: 7500 })]);
  assert.match(text, /<td class="state stalled">stalled<span class="unit">silent for 2 min<\/span>/);
  assert.match(text, /silent for 2 h 05 min/);
  assert.match(text, /2 runs at [^:]+: 2 stalled\./);
});

test('what could not be shown is listed', () => {
  const text = fragmentOf([runNamed('a', { unreadable: 1 })], { complete: false, refused: 2 });
  assert.match(text, /1 line of metrics\.jsonl could not be read/);
  assert.match(text, /This directory contains more than is shown/);
  assert.match(text, /The metrics\.jsonl of 2 runs is not readable\./);
});

test('a hook is in the heading if all runs share it, otherwise next to each run', () => {
  const other = { finished: false, architecture: 'gated', hook: 'blocks.0.hook_mlp_out' };
  const text = fragmentOf([
    runNamed('a'),
    runNamed('b', { settings: other }),
    runNamed('c', { settings: { finished: false } }),
  ]);
  assert.match(text, /3 runs: /);
  assert.equal(occurrences(text, '· blocks.0.hook_mlp_out</span>'), 1);
  assert.equal(occurrences(text, '· blocks.1.hook_mlp_out</span>'), 1);
});

test('rows and lines of one run have one number, and a run keeps its place while it grows', () => {
  const order = (l0: number) => {
    const [a, b] = [runNamed('a'), runNamed('b')];
    const runs = [a, { ...b, last: { ...b.last!, l0 } }];
    return [...fragmentOf(runs).matchAll(/<tr data-sae="(\d)"><th scope="row" title="(\w)"/g)].map(
      ([, i, n]) => i! + n!,
    );
  };
  assert.deepEqual(order(1), ['0a', '1b']);
  assert.deepEqual(order(1000), ['0a', '1b']);
  const text = fragmentOf([runNamed('a', { lines: 0 }), runNamed('b')]);
  const figure = text.slice(text.indexOf('<figure>'));
  assert.ok(occurrences(figure, 'data-sae="1"') > 0, 'the run without a line has its number, too');
  assert.equal(occurrences(figure, 'data-sae="0"'), 0);
});

test('of very many runs the latest to write are drawn, with fewer points, and all are in the table', () => {
  const runs = Array.from({ length: MOST_DRAWN + 20 }, (_, i) =>
    runNamed(`run-${1000 + i}`, { lines: 300, silence: i < 20 ? 50 : 1 }),
  );
  const text = fragmentOf(runs);
  assert.equal(occurrences(text, '<tr data-sae='), MOST_DRAWN + 20);
  const drawn = drawnEntries(runs, '/runs');
  assert.equal(drawn.length, MOST_DRAWN);
  assert.ok(drawn.every(({ index, name }) => index >= 20 && name === `gated, run-${1000 + index}`));
  assert.ok(drawn.every(({ curve: { length } }) => length > 48 && length <= 96));
  assert.match(text, /Of 120 runs, the 100 most recently updated are drawn\./);
  assert.ok(text.indexOf('<table') > text.indexOf('<figure>'), 'a long table comes last');
});

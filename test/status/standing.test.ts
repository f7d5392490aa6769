import assert from 'node:assert/strict';
import { test } from 'node:test';
import { standingOf } from '../../src/status/run-standing.js';
import { curve } from '../report/sample.js';

const NOW = 1_700_000_000_000;
const running = { finished: false, steps: 100 };
const ago = (seconds: number) => NOW - 1000 * seconds;

test('rate and time left come from the last lines: all their activations by all their seconds', () => {
  // 1000 activations and one step per line; the last two stretches take 10 s and 40 s.
  const lines = curve(3).map((line, i) => ({ ...line, tokens_per_second: [1, 100, 25][i]! }));
  const { state, step, steps, rate, left } = standingOf(lines, running, ago(1), NOW);
  assert.deepEqual([state, step, steps], ['running', 3, 100]);
  assert.equal(rate, 2000 / 50);
  assert.equal(left, (97 * 1000) / 40);
});

test('a single line gives its rate; steps with different numbers of activations give their mean', () => {
  const line = { ...curve(1)[0]!, step: 50, tokens: 5000, tokens_per_second: 200 };
  const { rate, left } = standingOf([line], running, ago(1), NOW);
  assert.equal(rate, 200);
  assert.equal(left, (50 * 100) / 200);
});

test('without lines, steps or speed, unknown values are left out', () => {
  const none = standingOf([], running, ago(1), NOW);
  assert.deepEqual([none.state, none.step, none.rate, none.left], ['running', 0, undefined, undefined]);
  const endless = standingOf(curve(5), { finished: false }, ago(1), NOW);
  assert.deepEqual([endless.steps, endless.left], [undefined, undefined]);
  const still = standingOf(curve(5, { tokens_per_second: Number.NaN }), running, ago(1), NOW);
  assert.deepEqual([still.rate, still.left], [undefined, undefined]);
});

test('a run is stalled if it is silent for a minute and five times its usual interval', () => {
  const quick = curve(5, { tokens_per_second: 1000 });
  assert.equal(standingOf(quick, running, ago(59), NOW).state, 'running');
  const { state, silence, left } = standingOf(quick, running, ago(61), NOW);
  assert.deepEqual([state, silence, left], ['stalled', 61, undefined]);
  const slow = curve(5, { tokens_per_second: 10 });
  assert.equal(standingOf(slow, running, ago(499), NOW).state, 'running');
  assert.equal(standingOf(slow, running, ago(501), NOW).state, 'stalled');
});

test('before its first line a run has ten minutes; a finished one is finished however long ago', () => {
  assert.equal(standingOf([], running, ago(599), NOW).state, 'running');
  assert.equal(standingOf([], running, ago(601), NOW).state, 'stalled');
  const { state, left } = standingOf(curve(5), { finished: true, steps: 100 }, ago(1e6), NOW);
  assert.deepEqual([state, left], ['finished', undefined]);
});

test('a clock that is behind the file system’s makes no negative silence', () => {
  assert.equal(standingOf(curve(5), running, ago(-30), NOW).silence, 0);
});

test('a run without an owner is stopped, however recently it wrote; a finished one is finished', () => {
  const state = (owner: 'running' | 'gone' | 'unknown', silent: number, finished = false) =>
    standingOf(curve(5), { finished, steps: 100, owner }, ago(silent), NOW).state;
  assert.equal(state('gone', 0), 'stopped');
  assert.equal(state('running', 0), 'running');
  assert.equal(state('running', 1e6), 'stalled');
  assert.equal(state('unknown', 0), 'running');
  assert.equal(state('gone', 0, true), 'finished');
  assert.equal(standingOf(curve(5), { finished: false, steps: 100, owner: 'gone' }, ago(0), NOW).left, undefined);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jsonLine, jsonProgress } from '../../src/progress/json-log.js';

interface Line {
  time: string;
  event: string;
  [field: string]: unknown;
}

/** A JSON log on a separate clock, and the lines it wrote, parsed. */
function logged() {
  const clock = { ms: 0 };
  const text: string[] = [];
  const progress = jsonProgress(
    (line) => text.push(line),
    () => clock.ms,
  );
  const lines = () => text.map((line) => JSON.parse(line) as Line);
  return { clock, progress, text, lines, untimed: () => lines().map(({ time: _, ...rest }) => rest) };
}

test('a task is begun, updated and ended, with its rate and the seconds left', () => {
  const { clock, progress, untimed } = logged();
  progress.begin('training gated', 1000, 'token');
  clock.ms = 500;
  progress.update(0);
  clock.ms = 2000;
  progress.update(100, '· L0 63.1 · EV 0.812');
  clock.ms = 4000;
  progress.update(1000);
  progress.end();
  const task = { label: 'training gated', total: 1000, unit: 'token' };
  assert.deepEqual(untimed(), [
    { event: 'begin', ...task, done: 0 },
    { event: 'update', ...task, done: 0, rate: 0, left: null, note: '' },
    { event: 'update', ...task, done: 100, rate: 50, left: 18, note: 'L0 63.1 · EV 0.812' },
    { event: 'update', ...task, done: 1000, rate: 250, left: 0, note: '' },
    { event: 'end', ...task, done: 1000, rate: 250, seconds: 4 },
  ]);
});

test('a table reports all tasks together and each of them, and when one is over', () => {
  const { clock, progress, untimed } = logged();
  const table = progress.table(
    'training',
    [
      { label: 'a', total: 100 },
      { label: 'b', total: 300 },
    ],
    'token',
  );
  clock.ms = 1000;
  table.update(0, 50, 'L0 9');
  table.update(1, 50);
  clock.ms = 2000;
  table.update(0, 100);
  table.finish(0, 'L0 8');
  progress.end();
  const told = untimed().map(({ event, label, done, total, note }) => [event, label, done, total, note]);
  assert.deepEqual(told, [
    ['begin', 'training', 0, 400, undefined],
    ['update', 'training', 50, 400, ''],
    ['update', 'a', 50, 100, 'L0 9'],
    ['update', 'b', 50, 300, ''],
    ['update', 'training', 150, 400, ''],
    ['update', 'a', 100, 100, ''],
    ['end', 'a', 100, 100, 'L0 8'],
    ['end', 'training', 150, 400, undefined],
  ]);
});

test('updates are a second apart at least, and the end has what came between', () => {
  const { clock, progress, untimed } = logged();
  progress.begin('evaluating', 50, 'token');
  for (let i = 0; i <= 25; i++) {
    progress.update(i);
    clock.ms += 100;
  }
  progress.end();
  const done = untimed().flatMap(({ event, done: d }) => (event === 'update' ? [d] : []));
  assert.deepEqual(done, [0, 10, 20]);
  assert.equal(untimed().at(-1)!.done, 25);
});

test('a task that begins ends the one before; an end without a task prints nothing', () => {
  const { progress, untimed } = logged();
  progress.end();
  progress.begin('a', 1, 'token');
  progress.begin('b', 1, 'token');
  progress.end();
  progress.end();
  assert.deepEqual(
    untimed().map(({ event, label }) => `${event} ${label}`),
    ['begin a', 'end a', 'begin b', 'end b'],
  );
});

test('the first update of a task is written, however recent the update of the task before', () => {
  const { progress, untimed } = logged();
  progress.begin('a', 10, 'token');
  progress.update(1);
  progress.begin('b', 10, 'token');
  progress.update(2);
  assert.equal(untimed().at(-1)!.done, 2);
});

test('every line is one line, with a time first that dates read back', () => {
  const { progress, text, lines } = logged();
  const before = Date.now();
  progress.say('two\nlines, "quoted"');
  progress.begin('endless', Number.POSITIVE_INFINITY, 'token');
  for (const line of text) assert.match(line, /^\{"time":"[^"]+","event":"[^\n]*\}\n$/);
  assert.equal(lines()[0]!.message, 'two\nlines, "quoted"');
  assert.equal(lines()[1]!.total, null);
  const time = Date.parse(lines()[0]!.time);
  assert.ok(time >= before && time <= Date.now());
  assert.equal(new Date(time).toISOString(), lines()[0]!.time);
  assert.match(jsonLine('error', { message: 'm', remedy: undefined }), /"event":"error","message":"m"\}\n$/);
});

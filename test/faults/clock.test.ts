import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Task } from '../../src/progress/progress.js';
import { CheckpointClock } from '../../src/train/training-checkpoint.js';
import { WatchedRuns } from '../../src/watch/watched-runs.js';
import { startIn } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';
import { runIn } from '../watch/runs.js';
import { evalWords, harvestWords, made, resultsBelow, trainWords } from './commands.js';

const root = temporaryDirectory();
const { acts, store, sae, evaluated } = await made();

interface Line {
  readonly time: string;
  readonly event: string;
  readonly rate?: number;
  readonly left?: number | null;
  readonly seconds?: number;
}

/** Runs a command by a clock that goes backwards, and gives what it logged. */
async function backwards(words: readonly string[]): Promise<Line[]> {
  const preload = new URL('backward-clock.js', import.meta.url).href;
  const { code, stderr } = await startIn({ NODE_OPTIONS: `--import ${preload}` }, ...words, '--log', 'json').outcome;
  assert.equal(code, 0, stderr);
  return stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

test('a clock that is set back changes no result, no rate and no time left', async () => {
  for (const [words, whole] of [
    [harvestWords, acts],
    [(out: string) => trainWords(store, out), sae],
  ] as const) {
    const out = join(root, `${words(root)[0]}-backwards`);
    const lines = await backwards(words(out));
    const times = lines.map(({ time }) => Date.parse(time));
    assert.ok(
      times.every((time, i) => i === 0 || time < times[i - 1]!),
      'the clock did go backwards',
    );
    for (const { event, rate, left, seconds } of lines) {
      // The others have no rate.
      if (event !== 'update' && event !== 'end') continue;
      assert.ok(rate! >= 0 && (left ?? 0) >= 0 && (seconds ?? 0) >= 0 && (seconds ?? 0) < 600, JSON.stringify(lines));
    }
    assert.deepEqual(resultsBelow(out), resultsBelow(whole));
  }
  const out = join(root, 'eval-backwards');
  await backwards(evalWords(sae, out));
  assert.deepEqual(resultsBelow(out), resultsBelow(evaluated));
});

test('checkpoints by time and durations use a clock that cannot be set', (t) => {
  let now = 1000;
  t.mock.method(performance, 'now', () => now);
  t.mock.method(Date, 'now', () => assert.fail('the time of day was asked for'));
  const clock = new CheckpointClock('1min', 0);
  const task = new Task('training', 100, 'token');
  task.update(0);
  assert.equal(clock.due(1), false);
  now += 60_000;
  assert.equal(clock.due(1), true);
  task.update(60);
  assert.deepEqual([task.seconds(), task.rate(), task.left()], [60, 1, 40]);
});

test('the live page still finds new runs after its clock was set back', async (t) => {
  const directory = temporaryDirectory(t);
  mkdirSync(join(directory, 'empty'));
  const clock = { ms: Date.now() };
  const watched = new WatchedRuns(directory, () => clock.ms);
  assert.equal((await watched.look()).runs.length, 0);
  runIn(directory, 'new', 5);
  clock.ms -= 86_400_000;
  assert.equal((await watched.look()).runs.length, 1);
});

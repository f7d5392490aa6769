import assert from 'node:assert/strict';
import { mkdirSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { findRuns, WatchedRuns } from '../../src/watch/watched-runs.js';
import { curve } from '../report/sample.js';
import { temporaryDirectory } from '../temporary.js';
import { append, begin, finish, runIn, textOf } from './runs.js';

test('the runs below a directory are found at any depth, in the order of their paths', async (t) => {
  const root = temporaryDirectory(t);
  const runs = [runIn(root, 'b', 1), runIn(root, 'a/deep/er', 1), runIn(root, 'a/x', 1)];
  runIn(root, 'b/below-a-run', 1);
  runIn(root, '.hidden', 1);
  runIn(root, 'node_modules/p', 1);
  mkdirSync(join(root, 'not-a-run', 'metrics.jsonl'), { recursive: true });
  symlinkSync(root, join(root, 'loop'));
  assert.deepEqual(await findRuns(root), { directories: runs.sort(), complete: true });
  assert.deepEqual((await findRuns(join(root, 'b'))).directories, [join(root, 'b')], 'a run itself');
  assert.deepEqual(await findRuns(join(root, 'gone')), { directories: [], complete: true });
});

test('the search is bounded, and says so', async (t) => {
  const root = temporaryDirectory(t);
  for (const name of ['a', 'b', 'c']) runIn(root, name, 1);
  const few = await findRuns(root, { mostRuns: 2 });
  assert.deepEqual([few.directories.length, few.complete], [2, false]);
  assert.equal((await findRuns(root, { mostRuns: 3 })).complete, true);
  assert.equal((await findRuns(root, { mostDirectories: 3 })).complete, false);
  assert.equal((await findRuns(root, { mostDirectories: 4 })).complete, true);
});

/** Runs that are watched by a clock which stands still until it is moved. */
function watched(root: string) {
  const clock = { ms: Date.now() };
  return { clock, runs: new WatchedRuns(root, () => clock.ms) };
}

test('curves grow, runs appear and go, and the version changes with each', async (t) => {
  const root = temporaryDirectory(t);
  const { clock, runs } = watched(root);
  const empty = await runs.look();
  assert.deepEqual(empty.runs, []);
  const a = runIn(root, 'a', 3);
  clock.ms += 6000;
  const one = await runs.look();
  assert.deepEqual(
    one.runs.map(({ directory, curve: lines }) => [directory, lines.length]),
    [[a, 3]],
  );
  assert.notEqual(one.version, empty.version);
  assert.equal((await runs.look()).version, one.version, 'nothing happened');
  append(a, textOf(curve(4).slice(3)));
  const grown = await runs.look();
  assert.equal(grown.runs[0]!.last!.step, 4);
  assert.notEqual(grown.version, one.version);
  runIn(root, 'b', 1);
  assert.equal((await runs.look()).runs.length, 1, 'new runs are looked for now and then');
  clock.ms += 6000;
  assert.equal((await runs.look()).runs.length, 2);
  rmSync(a, { recursive: true });
  const left = await runs.look();
  assert.deepEqual([left.runs.length, left.refused], [1, 0]);
  rmSync(root, { recursive: true });
  clock.ms += 6000;
  assert.deepEqual((await runs.look()).runs, []);
});

test('a record’s settings, its architecture’s own flags included, name the run', async (t) => {
  const root = temporaryDirectory(t);
  begin(runIn(root, 'a', 3), { ablate: ['no-r-mag'], train: ['r_mag'], seed: 3 });
  const [run] = (await watched(root).runs.look()).runs;
  assert.deepEqual([run!.settings.own, run!.settings.train], [{ ablate: ['no-r-mag'] }, ['r_mag']]);
});

test('a run has the settings of run.json until cfg.json exists', async (t) => {
  const root = temporaryDirectory(t);
  const directory = runIn(root, 'a', 3);
  const { runs } = watched(root);
  const only = async () => (await runs.look()).runs[0]!;
  assert.deepEqual((await only()).settings, { finished: false });
  begin(directory, { train: null });
  const { settings, standing } = await only();
  assert.deepEqual(settings, {
    finished: false,
    model: 'tiny-gemma',
    hook: 'blocks.1.hook_resid_post',
    architecture: 'gated',
    dSae: 512,
    l1: 4,
    steps: 200,
    own: undefined,
    train: undefined,
  });
  assert.equal(standing.state, 'running');
  finish(directory, { steps: 3 });
  const finished = await only();
  assert.deepEqual(
    [finished.settings.finished, finished.standing.state, finished.standing.steps],
    [true, 'finished', 3],
  );
  unlinkSync(join(directory, 'cfg.json'));
  assert.equal((await only()).settings.finished, false);
});

test('settings that are broken, inconsistent, or too large are ignored', async (t) => {
  const root = temporaryDirectory(t);
  const directory = runIn(root, 'a', 3);
  for (const [text, known] of [
    ['{"half', {}],
    ['null', {}],
    [`{"model_name":"m","sae_pipe":{"steps":9,"pad":"${'x'.repeat(2 << 20)}"}}`, {}],
    ['{"model_name":7,"sae_pipe":{"arch":"gated","steps":"many"}}', { architecture: 'gated' }],
    ['{"model_name":"m","sae_pipe":"none"}', { model: 'm' }],
  ] as const) {
    writeFileSync(join(directory, 'run.json'), text);
    const { settings } = (await new WatchedRuns(root).look()).runs[0]!;
    const said = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
    assert.deepEqual(said, { finished: false, ...known }, text.slice(0, 60));
  }
});

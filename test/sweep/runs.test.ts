import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { section } from '../../src/config/config-file.js';
import { loadConfig } from '../../src/config/load.js';
import { UsageRefusal } from '../../src/errors/refusal.js';
import { sweepRuns } from '../../src/sweep/runs.js';
import { temporaryDirectory } from '../temporary.js';

function runsOf(t: TestContext, yaml: string, given: Record<string, unknown> = {}, hooks = ['h'], known = hooks) {
  const file = join(temporaryDirectory(t), 'sweep.yaml');
  writeFileSync(file, yaml);
  return sweepRuns(loadConfig('sweep', { out: 'o', ...given }, file), hooks, 'stores', file, known);
}
const names = (runs: ReturnType<typeof runsOf>) => runs.map(({ name }) => name);

test('every combination of the lists, at every hook, above the train section', (t) => {
  const runs = runsOf(
    t,
    'train: {lr: 0.002, d-sae: 64, tokens: 100}\nsweep: {arch: [gated, standard], l1: [1, 2.5], seed: 7}',
    {},
    ['a', 'b'],
  );
  assert.deepEqual(names(runs).slice(0, 4), [
    'a/gated_d-sae-64_l1-1_seed-7',
    'a/gated_d-sae-64_l1-2.5_seed-7',
    'a/standard_d-sae-64_l1-1_seed-7',
    'a/standard_d-sae-64_l1-2.5_seed-7',
  ]);
  assert.equal(runs.length, 8);
  const { config } = runs[5]!;
  assert.equal(config.activations, join('stores', 'b'));
  assert.equal(config.out, join('o', 'saes', 'b', 'gated_d-sae-64_l1-2.5_seed-7'));
  assert.deepEqual(
    [config.arch, config.l1, config.seed, config.lr, config.tokens, config.threads, config.resume],
    ['gated', 2.5, 7, 0.002, 100, 1, true],
  );
});

test('a run that would resample before dead features are known is refused before anything is harvested', (t) => {
  const yaml = (at: number) =>
    `train: {d-sae: 64, tokens: 100000, batch: 100, dead-window: 950, resample-at: [${at}]}\nsweep: {l1: 2}`;
  assert.throws(() => runsOf(t, yaml(9)), /--resample-at 9 .* step 10 /);
  assert.equal(runsOf(t, yaml(10)).length, 1);
});

test('groups have lists of any flag of train, which take precedence', (t) => {
  const runs = runsOf(
    t,
    `train: {tokens: 100, threads: 3}
sweep:
  l1: [1, 2]
  runs:
    - {arch: gated, d-sae: 64}
    - {arch: standard, d-sae: 96, l1: [5], lr: [0.1, 0.2]}`,
  );
  assert.deepEqual(names(runs), [
    'h/gated_d-sae-64_l1-1_seed-0',
    'h/gated_d-sae-64_l1-2_seed-0',
    'h/standard_d-sae-96_l1-5_seed-0_lr-0.1',
    'h/standard_d-sae-96_l1-5_seed-0_lr-0.2',
  ]);
  assert.ok(runs.every(({ config }) => config.threads === 3));
});

test('a group may be at some of the hooks only; runs are ordered site by site', (t) => {
  const group = (arch: string, hook: string) => `{arch: ${arch}, hook: ${hook}}`;
  const groups = [group('gated', '[b, a]'), group('standard', 'a')].join(', ');
  assert.deepEqual(names(runsOf(t, `train: {d-sae: 8, l1: 1}\nsweep: {runs: [${groups}]}`, {}, ['a', 'b'])), [
    'a/gated_d-sae-8_l1-1_seed-0',
    'a/standard_d-sae-8_l1-1_seed-0',
    'b/gated_d-sae-8_l1-1_seed-0',
  ]);
});

test('hooks given on the command line select the runs that are at them', (t) => {
  const yaml =
    'train: {d-sae: 8, l1: 1}\nsweep: {runs: [{arch: gated, hook: [a, b]}, {arch: standard, hook: b}, {arch: standard, l1: 2}]}';
  const selected = (hooks: string[]) => names(runsOf(t, yaml, { hook: hooks }, hooks, ['a', 'b', 'c']));
  assert.deepEqual(selected(['a']), ['a/gated_d-sae-8_l1-1_seed-0', 'a/standard_d-sae-8_l1-2_seed-0']);
  assert.deepEqual(selected(['c']), ['c/standard_d-sae-8_l1-2_seed-0']);
  assert.equal(selected(['a', 'b']).length, 5);
  const named = 'train: {d-sae: 8}\nsweep: {runs: [{hook: a}, {hook: b}]}';
  const nothing = () => runsOf(t, named, { hook: ['c'] }, ['c'], ['a', 'b', 'c']);
  assert.throws(nothing, (error: unknown) => {
    assert.ok(error instanceof UsageRefusal);
    assert.equal(`${error.message} ${error.remedy}`, 'The sweep has no run at c. Its groups are at a, b.');
    return true;
  });
  // Where nothing says which hooks there are, any may be named.
  assert.deepEqual(names(runsOf(t, named, { hook: ['b'] }, ['b'], [])).length, 1);
});

test('the command line sets lists, too', (t) => {
  assert.deepEqual(names(runsOf(t, 'train: {d-sae: 8}', { l1: [3, 4] })), [
    'h/gated_d-sae-8_l1-3_seed-0',
    'h/gated_d-sae-8_l1-4_seed-0',
  ]);
});

test('what does not fit is refused by name', (t) => {
  const refused = (yaml: string, message: RegExp) =>
    assert.throws(
      () => runsOf(t, yaml),
      (error: unknown) => error instanceof UsageRefusal && message.test(`${error.message} ${error.remedy}`),
    );
  refused('sweep: {runs: [{arch: gated, d-saes: 8}]}', /no flag "d-saes".*d-sae/);
  refused('sweep: {runs: [{d-sae: 8, out: x}]}', /sets out for each run itself/);
  refused('train: {d-sae: 8}\nsweep: {l1: [1, 1]}', /contains h\/gated_d-sae-8_l1-1_seed-0 twice/);
  refused('train: {d-sae: 8}\nsweep: {runs: [{lr: -1}]}', /--lr/);
  refused(
    'train: {d-sae: 8}\nsweep: {runs: [{hook: elsewhere}]}',
    /is at elsewhere, which is not one of its hooks.*They are h/,
  );
  refused('sweep: {runs: 5}', /sweep\.runs/);
  refused('sweep: {arch: gatet}', /arch/);
});

test('the sweeps in configs/ give runs', () => {
  const files = readdirSync('configs').filter((name) =>
    readFileSync(join('configs', name), 'utf8').includes('\nsweep:'),
  );
  assert.ok(files.length > 0);
  for (const name of files) {
    const file = join('configs', name);
    const hooks = [section(file, 'harvest').hook].flat().map(String);
    assert.ok(sweepRuns(loadConfig('sweep', {}, file), hooks, 'stores', file).length > 1, file);
  }
});

test('lists that multiply without end, and hooks that are not strings, are refused', (t) => {
  const many = Array.from({ length: 300 }, (_, i) => i + 1);
  const refused = (yaml: string, message: RegExp) =>
    assert.throws(
      () => runsOf(t, yaml),
      (error: unknown) => error instanceof UsageRefusal && message.test(error.message),
    );
  refused(`train: {steps: 1}\nsweep: {l1: [${many}], seed: [${many}], d-sae: [${many}]}`, /27000000 runs/);
  refused(
    'train: {steps: 1}\nsweep: {runs: [{hook: [{toString: 1}], d-sae: 3}]}',
    /`hook` in a sweep group must be a string/,
  );
});

test('stores of a hook are below each place that --activations names, and its target with them', (t) => {
  const yaml = 'train: {d-sae: 64}\nsweep: {runs: [{arch: gated, hook-out: other}]}';
  const [run] = runsOf(t, yaml, { activations: 'one,two-*' });
  assert.equal(run!.config.activations, 'one/h,two-*/h');
  assert.equal(run!.config.target, 'one/other,two-*/other');
});

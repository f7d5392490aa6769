import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openStore } from '../../src/activations/store.js';
import { statusOf } from '../../src/status/status.js';
import { HOOK, harvestWords, resultsBelow, succeeds, trainWords } from '../faults/commands.js';
import { temporaryDirectory } from '../temporary.js';
import { ended, jobFields, realSlurm, slurm, submitted, until } from './cluster.js';

const daemons = realSlurm();
const root = temporaryDirectory();

const completed = ({ JobState, ExitCode }: Record<string, string>) =>
  assert.deepEqual([JobState, ExitCode], ['COMPLETED', '0:0']);

/** Of the shards of a store, in its order. */
const hashesOf = async (named: string) => Array.from((await openStore(named)).shards, ({ sha256 }) => sha256);

const running = (job: string) => until(`job ${job} runs`, () => jobFields(job).JobState === 'RUNNING');
const listsAShard = (store: string) => {
  const manifest = join(store, 'manifest.json');
  return existsSync(manifest) && readFileSync(manifest, 'utf8').includes('shard-00000');
};

test('a harvest by an array of four tasks, one killed and queued again, is that of one machine', async () => {
  const out = join(root, 'parts');
  const words = harvestWords(out, 24_000);
  for (const part of [0, 1, 2, 3]) await succeeds([...words, '--shard', `${part}/4`]);
  const expected = resultsBelow(out);
  rmSync(out, { recursive: true });
  const [job] = await submitted('--array', '4', '--', ...words);
  const killed = `${job}_2`;
  await until('a shard of part 2', () => listsAShard(join(out, HOOK, 'part-2-of-4')));
  slurm('scancel', '--signal=KILL', '--full', killed);
  assert.notEqual((await ended(killed)).JobState, 'COMPLETED');
  slurm('scontrol', 'requeue', killed);
  await until('its second start', () => jobFields(killed).Restarts === '1');
  for (const part of [0, 1, 2, 3]) completed(await ended(`${job}_${part}`));
  assert.deepEqual(resultsBelow(out), expected);
  const whole = join(root, 'whole');
  await succeeds(harvestWords(whole, 24_000));
  assert.deepEqual(await hashesOf(out), await hashesOf(whole));
});

/** Seconds of a training that meets its notice: Slurm looks at limits every half minute, and machines change pace. */
const BEYOND_NOTICE = 90;
/** Steps from which its speed is measured. */
const TRIAL_STEPS = 3000;

test('a time limit: a training stops at the notice, is requeued by its script and ends the same', async () => {
  const store = join(root, 'store');
  await succeeds(harvestWords(store, 3000));
  const words = (out: string, steps: number) => trainWords(join(store, HOOK), join(root, out), { steps });
  const begun = performance.now();
  await succeeds(words('trial', TRIAL_STEPS));
  const steps = Math.ceil((TRIAL_STEPS * BEYOND_NOTICE * 1000) / (performance.now() - begun));
  await succeeds(words('sae', steps));
  const expected = resultsBelow(join(root, 'sae'));
  rmSync(join(root, 'sae'), { recursive: true });
  const [job] = await submitted('--time', '2', '--notice', '60', '--cpus', '1', '--', ...words('sae', steps));
  await running(job!);
  // With a minute's notice it is signalled as soon as Slurm checks, in each of its starts.
  slurm('scontrol', 'update', `JobId=${job}`, 'TimeLimit=1');
  const fields = await ended(job!);
  completed(fields);
  assert.ok(Number(fields.Restarts) >= 1);
  assert.deepEqual(resultsBelow(join(root, 'sae')), expected);
  assert.match(readFileSync(join(root, `sae.slurm-${job}.log`), 'utf8'), /SIGUSR1/);
});

test('a node’s slurmd that is killed and started again loses no job', async () => {
  const out = join(root, 'lost');
  const [job] = await submitted('--', ...harvestWords(out, 3000));
  await running(job!);
  process.kill(Number(readFileSync(join(daemons, 'slurmd.pid'), 'utf8')), 'SIGKILL');
  spawn('/usr/sbin/slurmd', { stdio: 'ignore' });
  completed(await ended(job!));
  assert.ok(existsSync(join(out, HOOK, 'manifest.json')));
});

test('a chain of harvest, training, evaluation and report ends in the bytes of a sweep on one machine', async () => {
  const out = join(root, 'sweep');
  const file = join(root, 'sweep.yaml');
  const corpus = 'assets/corpus/validation.jsonl.gz';
  const sections = `harvest: {model: assets/tiny-gemma, corpus: ${corpus}, hook: ${HOOK}, tokens: 2000, context: 64, batch: 4, window-rows: 500}
train: {steps: 60, batch: 64, lr: 0.001, log-every: 1}
sweep: {out: ${out}, seed: 0, runs: [{arch: gated, d-sae: 200, l1: 2}, {arch: standard, d-sae: 250, l1: 3}]}
eval: {model: assets/tiny-gemma, corpus: ${corpus}, tokens: 300}
`;
  writeFileSync(file, sections);
  await succeeds(['sweep', '--config', file]);
  const expected = resultsBelow(out);
  const rows = await hashesOf(join(out, 'activations', HOOK));
  assert.ok(expected.has('report.html'));
  rmSync(out, { recursive: true });
  const jobs = await submitted('--chain', file);
  assert.equal(jobs.length, 4);
  for (const job of jobs) completed(await ended(job));
  assert.deepEqual(resultsBelow(out), expected);
  // The same with its training shared by two tasks, of one SAE each.
  rmSync(out, { recursive: true });
  const shared = await submitted('--overwrite', '--array', '2', '--', 'sweep', '--config', file);
  for (const task of [0, 1]) completed(await ended(`${shared[1]}_${task}`));
  for (const job of [shared[0]!, ...shared.slice(2)]) completed(await ended(job));
  assert.deepEqual(resultsBelow(out), expected);
  // And with its harvest shared by three tasks: the same rows in parts, and the same bytes of all else.
  rmSync(out, { recursive: true });
  writeFileSync(file, `${sections}submit: {stages: {harvest: {array: 3}, train: {array: 2}}}\n`);
  const divided = await submitted('--overwrite', '--chain', file);
  for (const [job, tasks] of [3, 2].entries()) {
    for (let task = 0; task < tasks; task++) completed(await ended(`${divided[job]}_${task}`));
  }
  for (const job of divided.slice(2)) completed(await ended(job));
  const parts = readdirSync(join(out, 'activations', HOOK));
  assert.deepEqual(parts, ['part-0-of-3', 'part-1-of-3', 'part-2-of-3']);
  assert.deepEqual(await hashesOf(join(out, 'activations', HOOK)), rows);
  const withoutStores = (results: ReadonlyMap<string, string>) =>
    new Map([...results].filter(([name]) => !name.startsWith('activations/')));
  assert.deepEqual(withoutStores(resultsBelow(out)), withoutStores(expected));
});

test('a task that fails has its exit code, and what depends on it does not begin', async () => {
  const file = join(root, 'failing.yaml');
  const nothing = join(root, 'nothing.jsonl');
  writeFileSync(
    file,
    `harvest: {model: assets/tiny-gemma, corpus: ${nothing}, hook: ${HOOK}, tokens: 2000}
train: {steps: 10}
sweep: {out: ${join(root, 'failing')}, seed: 0, arch: [gated], d-sae: [200], l1: [2]}
`,
  );
  const [harvest, train] = await submitted('--chain', file);
  const { JobState, ExitCode } = await ended(harvest!);
  assert.deepEqual([JobState, ExitCode], ['FAILED', '1:0']);
  assert.equal((await ended(train!)).JobState, 'CANCELLED');
  const { jobs } = await statusOf([root]);
  assert.ok(jobs.some(({ id, failed }) => failed && id === harvest));
});

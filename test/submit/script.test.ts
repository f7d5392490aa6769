import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { submitSchema } from '../../src/config/stages/submit.js';
import { withoutSwitch } from '../../src/config/switch-words.js';
import { resourceOptions, secondsOf } from '../../src/submit/sbatch-options.js';
import { scriptOf, type Work } from '../../src/submit/script.js';
import { wordOfTask } from '../../src/submit/shell-words.js';
import { refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const settings = (flags: object = {}) => submitSchema.parse({ scheduler: 'slurm', ...flags });

/** A program for the script to run in the place of node: prints its words, and waits for a signal if told to. */
const PROGRAM = `#!/usr/bin/env bash
printf '%s\\n' "$@" > said
trap 'exit 138' USR1
trap 'exit 143' TERM
touch started
if [[ -e wait ]]; then while :; do sleep 0.05; done; fi
exit "$(cat code 2>/dev/null || echo 0)"
`;

/** Runs a script with a fake program and a fake scontrol; `meanwhile` has its process once the program has begun. */
async function runScript(
  t: TestContext,
  work: Partial<Work>,
  { environment = {}, flags = {}, prepare = {} as Record<string, string>, signals = [] as NodeJS.Signals[] } = {},
) {
  const directory = temporaryDirectory(t);
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  const fakes = { program: PROGRAM, scontrol: '#!/bin/sh\necho "$@" > requeued\n' };
  for (const [name, text] of Object.entries(fakes)) {
    writeFileSync(join(bin, name), text);
    chmodSync(join(bin, name), 0o755);
  }
  for (const [name, text] of Object.entries(prepare)) writeFileSync(join(directory, name), text);
  const { text } = scriptOf({ stage: 'train', words: [], out: 'o', ...work }, settings(flags), directory);
  const file = join(directory, 'script.sh');
  writeFileSync(file, text.replace(process.execPath, join(bin, 'program')));
  const env = { ...process.env, PATH: [bin, process.env.PATH].join(delimiter), SLURM_JOB_ID: '7', ...environment };
  const child = spawn('bash', [file], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  const exit = once(child, 'exit');
  if (signals.length > 0) {
    while (!existsSync(join(directory, 'started'))) await new Promise((resolve) => setTimeout(resolve, 10));
    for (const signal of signals) child.kill(signal);
  }
  const [code] = (await exit) as [number | null];
  const read = (name: string) => (existsSync(join(directory, name)) ? readFileSync(join(directory, name), 'utf8') : '');
  return { code, words: read('said').split('\n').slice(1, -1), requeued: read('requeued').trim() };
}

test('the script ends with the exit code of its command, and queues nothing again', async (t) => {
  assert.deepEqual(await runScript(t, {}), { code: 0, words: ['train', '--resume'], requeued: '' });
  const failed = await runScript(t, {}, { prepare: { code: '1' } });
  assert.deepEqual([failed.code, failed.requeued], [1, '']);
});

test('the notice is passed on, and the stopped command is queued again', async (t) => {
  const stopped = await runScript(t, {}, { prepare: { wait: '' }, signals: ['SIGUSR1'] });
  assert.deepEqual([stopped.code, stopped.requeued], [0, 'requeue 7']);
  const task = { SLURM_ARRAY_JOB_ID: '7', SLURM_ARRAY_TASK_ID: '3' };
  const one = { prepare: { wait: '' }, signals: ['SIGUSR1' as const], environment: task };
  assert.equal((await runScript(t, { tasks: 5 }, one)).requeued, 'requeue 7_3', 'not the tasks next to it');
  const cancelled = await runScript(t, {}, { prepare: { wait: '' }, signals: ['SIGTERM'] });
  assert.deepEqual([cancelled.code, cancelled.requeued], [143, '']);
});

test('a command that keeps nothing when stopped is not requeued', async (t) => {
  const wait = { prepare: { wait: '' }, signals: ['SIGUSR1' as const] };
  for (const work of [{ stage: 'eval' }, { stage: 'report' }, { stage: 'sweep', name: 'eval' }] as const) {
    const { code, requeued } = await runScript(t, work, wait);
    assert.deepEqual([code, requeued], [138, ''], work.stage);
  }
  assert.equal((await runScript(t, { stage: 'sweep', name: 'train' }, wait)).requeued, 'requeue 7');
});

test('nothing is queued again with --no-requeue, nor more often than --max-requeues', async (t) => {
  const wait = { prepare: { wait: '' }, signals: ['SIGUSR1' as const] };
  const never = await runScript(t, {}, { ...wait, flags: { requeue: false } });
  assert.deepEqual([never.code, never.requeued], [138, '']);
  const often = { flags: { maxRequeues: 3 }, environment: { SLURM_RESTART_COUNT: '3' } };
  const last = await runScript(t, {}, { ...wait, ...often });
  assert.deepEqual([last.code, last.requeued], [138, '']);
});

test('--overwrite is for the first start only; later ones resume', async (t) => {
  const work = { words: ['--overwrite', 'true', '--l1', '4', '--no-resume'], overwrite: true };
  const wordsOf = async (restarts: string) =>
    (await runScript(t, work, { environment: { SLURM_RESTART_COUNT: restarts } })).words;
  assert.deepEqual(await wordsOf('0'), ['train', '--l1', '4', '--overwrite']);
  assert.deepEqual(await wordsOf('2'), ['train', '--l1', '4', '--no-overwrite', '--resume']);
  const report = await runScript(t, { stage: 'report', words: ['e', '--overwrite'] });
  assert.deepEqual(report.words, ['report', 'e', '--overwrite']);
});

test('words reach the command as they were written, with the task’s number filled in', async (t) => {
  const odd = ["it's", '$(touch x)', 'a b', '*', '"', ''];
  assert.deepEqual((await runScript(t, { words: odd })).words, ['train', ...odd, '--resume']);
  const inArray = await runScript(t, { words: odd, tasks: 2 });
  assert.deepEqual(inArray.words, ['train', ...odd, '--resume']);
  const environment = { SLURM_ARRAY_TASK_ID: '3' };
  const task = await runScript(t, { words: ['a{i}b{i}', '{i}/{n}'], tasks: 5 }, { environment });
  assert.deepEqual(task.words, ['train', 'a3b3', '3/5', '--resume']);
  assert.equal(wordOfTask("it's {i}", 2), `'it'\\''s '"$SLURM_ARRAY_TASK_ID"`);
  assert.deepEqual(withoutSwitch(['--resume=true', 'true', '--resume', 'false', 'x'], 'resume'), ['true', 'x']);
});

test('options of sbatch are before the first command, and files next to --out', async () => {
  const flags = {
    partition: 'gpu',
    gres: 'gpu:1',
    time: '1-0',
    cpus: 8,
    mem: '64G',
    sbatch: ['account=a', 'comment=x y'],
  };
  const { path, log, text } = scriptOf({ stage: 'eval', words: [], out: 'runs/100%' }, settings(flags), '/a b');
  assert.deepEqual([path, log], ['/a b/runs/100%.slurm.sh', '/a b/runs/100%.slurm-%j.log']);
  const options = text.split('\n').filter((line) => line.startsWith('#SBATCH '));
  assert.deepEqual(options, [
    ...['#SBATCH --job-name=sae-pipe-eval', '#SBATCH --partition=gpu', '#SBATCH --gres=gpu:1', '#SBATCH --time=1-0'],
    ...['#SBATCH --cpus-per-task=8', '#SBATCH --mem=64G', '#SBATCH --account=a', '#SBATCH --comment="x y"'],
    ...['#SBATCH --output="/a b/runs/100%%.slurm-%j.log"', '#SBATCH --open-mode=append'],
    ...['#SBATCH --signal=B:USR1@120', '#SBATCH --requeue'],
  ]);
  assert.equal(text.indexOf('#SBATCH'), text.split('\n').slice(0, 2).join('\n').length + 1);
  const array = scriptOf({ stage: 'train', words: [], out: 'r/s{i}', tasks: 3 }, settings(), '/w');
  assert.deepEqual([array.path, array.log], ['/w/r/sarray.slurm.sh', '/w/r/sarray.slurm-%A_%a.log']);
  await refusesUsage(() => scriptOf({ stage: 'eval', words: [], out: 'a"b' }, settings(), '/w'), 'submit/odd-path');
});

test('times are read as Slurm reads them; one that leaves no time to work is refused', async () => {
  const times = { '90': 5400, '1:30': 90, '1:00:05': 3605, '2-0': 172_800, '1-2:03': 93_780, '1-2:03:04': 93_784 };
  for (const [time, seconds] of Object.entries(times)) assert.equal(secondsOf(time), seconds, time);
  await refusesUsage(() => resourceOptions(settings({ time: '2' })), 'submit/time-too-short');
  assert.deepEqual(resourceOptions(settings({ time: '2', notice: 60 })), ['--time=2']);
  // No limit.
  assert.deepEqual(resourceOptions(settings({ time: '0' })), ['--time=0']);
  assert.ok(!submitSchema.safeParse({ scheduler: 'slurm', time: 'tomorrow' }).success);
});

test('options that submit sets itself, or that do not exist, are refused', async () => {
  const given = (option: string) => () => resourceOptions(settings({ sbatch: [option] }));
  for (const option of ['signal=USR1', 'time=5', 'ntasks=4', 'requeue']) {
    await refusesUsage(given(option), 'submit/own-option');
  }
  for (const option of ['--account=a', 'a=b\nc', 'A=b', 'comment=a"b', '=x']) {
    await refusesUsage(given(option), 'submit/not-an-option');
  }
  assert.deepEqual(resourceOptions(settings({ sbatch: ['exclusive'] })), ['--exclusive']);
});

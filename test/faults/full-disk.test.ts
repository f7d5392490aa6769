import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { logged, refused } from '../cli/refused.js';
import { type Outcome, run, sleep, start } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';
import { evalWords, harvestWords, made, nothingHalfWritten, resultsBelow, succeeds, trainWords } from './commands.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const root = temporaryDirectory();
const { acts, store, sae, evaluated } = await made();

/** A file system of `bytes` in memory; undefined, with the test skipped, where none can be mounted. */
function smallDisk(t: TestContext, bytes: number): string | undefined {
  let mounted = false;
  // Before the directory's own removal, since hooks run in the order in which they were set.
  t.after(() => mounted && spawnSync('umount', ['-l', place]));
  const place = temporaryDirectory(t);
  mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', place]).status === 0;
  if (mounted) return place;
  t.skip('a small file system cannot be mounted here');
  return undefined;
}

/** Takes what is left of a file system, all but `left` bytes. */
function fill(place: string, left: number): void {
  const { bavail, bsize } = statfsSync(place);
  writeFileSync(join(place, 'ballast'), Buffer.alloc(Math.max(0, bavail * bsize - left)));
}

/** Starts a command and fills its disk once a file of this name is there. */
async function filledOnce(place: string, name: RegExp, left: number, args: readonly string[]): Promise<Outcome> {
  const { child, outcome } = start(...args);
  const there = () => readdirSync(place, { recursive: true, encoding: 'utf8' }).some((path) => name.test(path));
  while (!there() && child.exitCode === null) await sleep(2);
  child.kill('SIGSTOP');
  fill(place, left);
  child.kill('SIGCONT');
  return outcome;
}

/** Tokens of a harvest that takes a while. */
const LONGER = 30_000;

test('a disk that fills up during a harvest: one sentence, and --resume when there is room', async (t) => {
  const place = smallDisk(t, 2 ** 25);
  if (!place) return;
  const whole = join(root, 'longer');
  await succeeds(harvestWords(whole, LONGER));
  const words = harvestWords(join(place, 'acts'), LONGER);
  // Room for half of a shard.
  const full = await filledOnce(place, /shard-00003\.arrow$/, 50_000, logged(words));
  refused(full, 'disk/full', /\.arrow|manifest\.json/);
  nothingHalfWritten(join(place, 'acts'), resultsBelow(whole));
  rmSync(join(place, 'ballast'));
  await succeeds([...words, '--resume']);
  assert.deepEqual(resultsBelow(join(place, 'acts')), resultsBelow(whole));
});

test('a disk that fills up during a training: the same', onDemand, async (t) => {
  const place = smallDisk(t, 2 ** 25);
  if (!place) return;
  const [out, whole] = [join(place, 'sae'), join(root, 'longer-sae')];
  const words = (to: string) => trainWords(store, to, { steps: 600 });
  await succeeds(words(whole));
  // Room for a checkpoint, but not for a second one.
  const full = await filledOnce(place, /checkpoint-\d+\.safetensors$/, 400_000, logged(words(out)));
  refused(full, 'disk/full', out);
  nothingHalfWritten(out, resultsBelow(whole));
  rmSync(join(place, 'ballast'));
  const resumed = await succeeds([...words(out), '--resume']);
  assert.doesNotMatch(resumed.stderr, /sae-pipe:/);
  assert.deepEqual(resultsBelow(out), resultsBelow(whole));
});

test('what is known to be too large for the disk is refused before anything is written', async (t) => {
  const place = smallDisk(t, 2 ** 20);
  if (!place) return;
  refused(await run(...logged(harvestWords(join(place, 'acts')))), 'disk/too-full', '1.1 MiB');
  assert.deepEqual(readdirSync(place), []);
});

/** Runs a command under a limit on the size of a file. */
async function limited(kibibytes: number, args: readonly string[]): Promise<Outcome> {
  const shell = spawn('bash', [
    '-c',
    `ulimit -f ${kibibytes}; exec "$@"`,
    'bash',
    process.execPath,
    'bin/sae-pipe.js',
    ...args,
  ]);
  let [stdout, stderr] = ['', ''];
  shell.stdout.on('data', (data) => {
    stdout += data;
  });
  shell.stderr.on('data', (data) => {
    stderr += data;
  });
  const [code, signal] = await once(shell, 'close');
  return { code, signal, stdout, stderr };
}

for (const [name, kibibytes, file, words, whole, again] of [
  ['harvest, within a shard', 60, 'shard-00000.arrow', (out: string) => harvestWords(out), acts, ['--resume']],
  [
    'train, within a checkpoint',
    400,
    'checkpoint-00000009',
    (out: string) => trainWords(store, out),
    sae,
    ['--resume'],
  ],
  [
    'train, within the weights',
    200,
    'sae_weights',
    (out: string) => trainWords(store, out, { 'checkpoint-every': 0 }),
    sae,
    ['--resume'],
  ],
  ['eval, within eval.json', 4, 'eval.json', (out: string) => evalWords(sae, out), evaluated, []],
] as const) {
  test(`a limit on the size of files does not kill ${name}`, async () => {
    const out = join(root, name.replaceAll(' ', '-'));
    refused(await limited(kibibytes, logged(words(out))), 'disk/file-size-limit', file);
    nothingHalfWritten(out, resultsBelow(whole));
    await succeeds([...words(out), ...again]);
    assert.deepEqual(resultsBelow(out), resultsBelow(whole));
  });
}

test('the metrics of a training may reach the limit, too, and no torn line stays', async () => {
  const out = join(root, 'metrics');
  const settings = { steps: 60, 'log-every': 1, 'checkpoint-every': 0 };
  const words = trainWords(store, out, settings);
  refused(await limited(4, logged(words)), 'disk/file-size-limit', 'metrics.jsonl');
  nothingHalfWritten(out, new Map());
  const whole = join(root, 'metrics-whole');
  await succeeds(trainWords(store, whole, settings));
  await succeeds([...words, '--resume']);
  assert.deepEqual(resultsBelow(out), resultsBelow(whole));
});

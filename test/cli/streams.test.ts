import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { prose } from '../corpus/prose.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { logged, refused, refusedUsage, saysRefusal } from './refused.js';
import { type Outcome, run, sleep, start, startPipe } from './run-program.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const HOOK = 'blocks.1.hook_mlp_out';
const root = temporaryDirectory();
/** Of harvest, and of train on a running model. */
const TEXT = ['--model', 'assets/tiny-gemma', '--corpus', 'assets/corpus/train.jsonl.gz', '--hook', HOOK];
const TOKENS = 3000;

const harvest = (out: string, more: readonly string[] = [], tokens = TOKENS) => [
  ...['harvest', ...TEXT, '--tokens', `${tokens}`, '--context', '128', '--batch', '4'],
  ...['--window-rows', '1000', '--rows-per-shard', '300', '--out', out, ...more],
];
const train = (out: string, more: readonly string[] = []) => [
  ...[
    'train',
    '--d-sae',
    '64',
    '--batch',
    '128',
    '--normalize',
    'none',
    '--start',
    'zero',
    '--b-dec-init',
    'zero',
    '--max-activation-norm-multiple',
    '0',
    '--lr',
    '1e-3',
    '--threads',
    '1',
  ],
  ...['--log-every', '1', '--out', out, ...more],
];
const stream = ['--activations', '-', '--order', 'stored'];
const at = (name: string) => join(root, name);
const weights = (name: string) => readFileSync(join(at(name), 'sae_weights.safetensors'));
const stepsOf = (name: string) =>
  readFileSync(join(at(name), 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n').length;

/** Feeds bytes to a command. */
async function fed(bytes: Buffer | string, args: readonly string[]): Promise<Outcome> {
  const child = spawn(process.execPath, ['bin/sae-pipe.js', ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data) => {
    stdout += data;
  });
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  // A command that refuses its input does not read all of it.
  child.stdin.on('error', () => {});
  child.stdin.end(bytes);
  const [code, signal] = await once(child, 'close');
  return { code, signal, stdout, stderr };
}

/** What a command that succeeds writes to standard output. */
async function outputOf(args: readonly string[]): Promise<Buffer> {
  const child = spawn(process.execPath, ['bin/sae-pipe.js', ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk) => chunks.push(chunk));
  assert.deepEqual(await once(child, 'close'), [0, null]);
  return Buffer.concat(chunks);
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 6000; i++) {
    if (condition()) return;
    await sleep(5);
  }
  throw new Error('waited in vain');
}

test('a store, a pipe and a running model train the same SAE, byte for byte', async () => {
  const stored = await run(...harvest(at('acts')));
  assert.equal(stored.code, 0, stored.stderr);
  const fromStore = await run(...train(at('store'), ['--activations', join(at('acts'), HOOK), '--order', 'stored']));
  assert.equal(fromStore.code, 0, fromStore.stderr);

  const pipe = startPipe(temporaryDirectory(), harvest('-'), train(at('pipe'), stream));
  assert.deepEqual(await pipe.codes, [0, 0], pipe.left.stderr() + pipe.right.stderr());
  assert.deepEqual(weights('pipe'), weights('store'));
  assert.equal(stepsOf('pipe'), Math.floor(TOKENS / 128));
  assert.equal(stepsOf('pipe'), stepsOf('store'));
  assert.match(pipe.right.stderr(), /standard input: at most 2 record batches of 300 rows in memory/);

  const size = ['--tokens', `${TOKENS}`, '--context', '128', '--contexts-per-pass', '4', '--pool-rows', '1000'];
  const live = await run(...train(at('live'), [...TEXT, ...size]));
  assert.equal(live.code, 0, live.stderr);
  assert.deepEqual(weights('live'), weights('store'));
  assert.equal(stepsOf('live'), stepsOf('store'));
  assert.match(live.stderr, /at most 2 windows of 1016 rows in memory/);
});

test('a shuffled stream of one pool sees every row once, and trains to another SAE than the stored order', async () => {
  const pipe = startPipe(temporaryDirectory(), harvest('-'), train(at('shuffled'), ['--activations', '-']));
  assert.deepEqual(await pipe.codes, [0, 0], pipe.left.stderr() + pipe.right.stderr());
  assert.equal(stepsOf('shuffled'), stepsOf('store'));
  assert.notDeepEqual(weights('shuffled'), weights('store'));
});

test('standard output holds the stream and nothing else', async () => {
  const bytes = await outputOf(harvest('-'));
  assert.deepEqual([...bytes.subarray(0, 4)], [255, 255, 255, 255]);
  assert.deepEqual([...bytes.subarray(-8)], [255, 255, 255, 255, 0, 0, 0, 0]);

  // Kept in a file, it is as good as the pipe.
  writeFileSync(at('kept.arrows'), bytes);
  const replayed = await fed(bytes, train(at('replayed'), stream));
  assert.equal(replayed.code, 0, replayed.stderr);
  assert.deepEqual(weights('replayed'), weights('store'));

  // Cut, it trains nothing; with the complete one again, the run resumes from what it had.
  const cut = await fed(bytes.subarray(0, bytes.length / 2), logged(train(at('cut'), stream)));
  refused(cut, 'activations/stream-cut-short', /after \d+ of 3000 rows/);
  assert.match(cut.stderr, /step \d+ of 23 is saved in .*cut; .*--resume/);
  assert.ok(!existsSync(join(at('cut'), 'cfg.json')), 'no SAE');
  const resumed = await fed(bytes, train(at('cut'), [...stream, '--resume']));
  assert.equal(resumed.code, 0, resumed.stderr);
  assert.deepEqual(weights('cut'), weights('store'));

  const more = await fed(bytes, logged(train(at('more'), [...stream, '--steps', '24'])));
  refusedUsage(more, 'train/too-few-activations', '3000', '3072');
  assert.ok(!existsSync(at('more')));

  const other = Buffer.from(bytes);
  other.write('"version":2', other.indexOf('"version":1'));
  const newer = await fed(other, logged(train(at('version'), stream)));
  refused(newer, 'activations/other-version', 'version 2', 'version 1');
});

test('a stream of another text is refused on --resume, before and after the run is finished', onDemand, async () => {
  const corpus = at('changing.txt');
  const text = prose(80_000);
  const writer = [
    ...['harvest', '--model', 'assets/tiny-gemma', '--corpus', corpus, '--hook', HOOK, '--tokens', '2000'],
    ...['--context', '64', '--batch', '4', '--rows-per-shard', '300', '--out', '-'],
  ];
  writeFileSync(corpus, text);
  const first = await outputOf(writer);
  writeFileSync(corpus, `Another beginning. ${text}`);
  const other = await outputOf(writer);
  const reader = train(at('other'), [...stream, '--steps', '14', '--resume']);
  refused(await fed(first.subarray(0, first.length / 2), logged(reader)), 'activations/stream-cut-short');

  for (const finished of [false, true]) {
    const before = filesBelow(at('other'));
    refused(await fed(other, logged(reader)), 'activations/other-text', 'standard input');
    assert.deepEqual(filesBelow(at('other')), before);
    const resumed = await fed(first, reader);
    assert.equal(resumed.code, 0, resumed.stderr);
    if (finished) assert.deepEqual(filesBelow(at('other')), before);
  }
});

test('a pipe whose training is finished, or needs fewer rows than come, exits 0 on both sides', async () => {
  const long = harvest('-', [], 9000);
  const reader = train(at('fewer'), ['--activations', '-', '--steps', '8', '--pool-rows', '700', '--resume']);
  const files = [];
  for (let time = 0; time < 2; time++) {
    const pipe = startPipe(temporaryDirectory(), long, reader);
    assert.deepEqual(await pipe.codes, [0, 0], pipe.left.stderr() + pipe.right.stderr());
    assert.match(pipe.right.stderr(), /The rest of standard input is read and dropped/);
    files.push(filesBelow(at('fewer')));
  }
  assert.deepEqual(files[1], files[0]);
});

test('a stop while the rest of a stream is drained is noticed, and the SAE is complete', async () => {
  const long = harvest('-', [], 400_000);
  const pipe = startPipe(temporaryDirectory(), long, train(at('rest'), [...stream, '--steps', '8']));
  await until(() => pipe.right.stderr().includes('read and dropped'));
  process.kill(await pipe.right.pid(), 'SIGTERM');
  assert.deepEqual(await pipe.codes, [1, 143], pipe.left.stderr() + pipe.right.stderr());
  assert.match(pipe.right.stderr(), /Stopped \(SIGTERM\): training is finished/);
  const left = readdirSync(at('rest')).filter((name) => !name.startsWith('checkpoint-'));
  assert.deepEqual(left.sort(), ['cfg.json', 'metrics.jsonl', 'run.json', 'sae_weights.safetensors']);
});

test('killing the writer ends training with one sentence, exit 1 and no SAE', async () => {
  const long = harvest('-', [], 400_000);
  const pipe = startPipe(temporaryDirectory(), long, logged(train(at('orphan'), stream)));
  await until(() => existsSync(join(at('orphan'), 'metrics.jsonl')) && stepsOf('orphan') > 3);
  process.kill(await pipe.left.pid(), 'SIGKILL');
  assert.deepEqual(await pipe.codes, [137, 1]);
  saysRefusal(pipe.right.stderr(), 'activations/stream-cut-short', /after \d+ of 400000 rows/);
  assert.match(readdirSync(at('orphan')).sort().join(' '), /^checkpoint-\d{8}\.safetensors metrics\.jsonl run\.json$/);
});

test('killing the reader ends the harvest with one sentence and exit 1', async () => {
  const long = harvest('-', [], 400_000);
  const pipe = startPipe(temporaryDirectory(), logged(long), train(at('killed'), stream));
  await until(() => existsSync(join(at('killed'), 'metrics.jsonl')) && stepsOf('killed') > 3);
  process.kill(await pipe.right.pid(), 'SIGKILL');
  assert.deepEqual(await pipe.codes, [1, 137]);
  saysRefusal(pipe.left.stderr(), 'activations/reader-gone', /after \d+ of 400000 rows/);
});

test('a stop of the whole pipe keeps the steps that were made, and both sides exit 130', async () => {
  const long = harvest('-', [], 400_000);
  const pipe = startPipe(temporaryDirectory(), long, train(at('stopped'), stream));
  await until(() => existsSync(join(at('stopped'), 'metrics.jsonl')) && stepsOf('stopped') > 3);
  // As the terminal does it on Ctrl-C.
  for (const side of [pipe.left, pipe.right]) process.kill(await side.pid(), 'SIGINT');
  assert.deepEqual(await pipe.codes, [130, 130], pipe.left.stderr() + pipe.right.stderr());
  assert.match(pipe.left.stderr(), /Stopped \(SIGINT\): \d+ of 400000 rows went to standard output, and the stream is/);
  assert.match(pipe.right.stderr(), /Stopped \(SIGINT\): step \d+ of 3125 is saved in .*--resume/);
  assert.match(readdirSync(at('stopped')).sort().join(' '), /^checkpoint-\d{8}\.safetensors metrics\.jsonl run\.json$/);
});

test('a harvest whose reader takes nothing stops all the same', async () => {
  const child = spawn(process.execPath, ['bin/sae-pipe.js', ...harvest('-')], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  await once(child.stdout, 'data');
  child.stdout.pause();
  // Time for the pipe to fill up: it is smaller than a window.
  await sleep(1500);
  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  child.stdout.destroy();
  assert.equal(code, 143, stderr);
  assert.match(stderr, /Stopped \(SIGTERM\): \d+ of 3000 rows went to standard output/);
});

test('training on a running model is stopped and resumed to the bytes of an undisturbed run', onDemand, async () => {
  const more = [...TEXT, '--tokens', '9000', '--context', '128', '--contexts-per-pass', '4', '--pool-rows', '1000'];
  const undisturbed = await run(...train(at('live-whole'), more));
  assert.equal(undisturbed.code, 0, undisturbed.stderr);
  const { child, outcome } = start(...train(at('live-stopped'), more));
  await until(() => existsSync(join(at('live-stopped'), 'metrics.jsonl')) && stepsOf('live-stopped') > 8);
  child.kill('SIGINT');
  const { code, stderr } = await outcome;
  assert.equal(code, 130, stderr);
  assert.match(stderr, /step \d+ of 70 is saved/);
  const resumed = await run(...train(at('live-stopped'), [...more, '--resume']));
  assert.equal(resumed.code, 0, resumed.stderr);
  for (const file of ['cfg.json', 'sae_weights.safetensors']) {
    assert.deepEqual(readFileSync(join(at('live-stopped'), file)), readFileSync(join(at('live-whole'), file)), file);
  }
});

test('a second signal ends training on a running model at once, by the signal itself', async () => {
  const more = [...TEXT, '--tokens', '300000', '--context', '128'];
  const { child, outcome } = start(...train(at('twice'), more));
  let stderr = '';
  child.stderr!.on('data', (data) => {
    stderr += data;
  });
  await until(() => stderr.includes('at most 2 windows'));
  // Forward passes of the first window take many seconds.
  await sleep(500);
  child.kill('SIGTERM');
  child.kill('SIGINT');
  await until(() => stderr.includes('again: stop at once'));
  child.kill('SIGINT');
  const { signal } = await outcome;
  assert.ok(signal === 'SIGINT' || signal === 'SIGTERM', `${signal}`);
  // A process that ends at once does not release its lock; the next takes it over.
  assert.deepEqual(readdirSync(at('twice')), ['sae-pipe.lock']);
});

test('input that is not a stream is refused in one sentence, and nothing is written', async () => {
  const reader = logged(train(at('g'), stream));
  const garbage = await fed('not a stream, but a text that is long enough to be taken for one\n', reader);
  refused(garbage, 'activations/not-arrow', 'standard input', 'sae-pipe harvest');
  refused(await fed('', reader), 'activations/empty-stream', 'standard input');
  const failing = startPipe(temporaryDirectory(), logged(harvest('-', ['--text-field', 'none'])), reader);
  assert.deepEqual(await failing.codes, [1, 1]);
  saysRefusal(failing.left.stderr(), 'corpus/no-text', '"none"', '--text-field');
  saysRefusal(failing.right.stderr(), 'activations/empty-stream');
  assert.ok(!existsSync(at('g')));
});

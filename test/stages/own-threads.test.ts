import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { withOwnThreads } from '../../src/train/resumed-config.js';
import { train } from '../../src/train/train.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
let activations: string;

before(async () => {
  activations = await tinyActivations(root);
});

const configured = (out: string, threads: number, resume = false): TrainConfig =>
  trainSchema.parse({ activations, dSae: 512, steps: 30, batch: 256, lr: 1e-3, threads, resume, out: join(root, out) });
const weights = (out: string) => readFileSync(join(root, out, 'sae_weights.safetensors'));

async function stopped(out: string, threads: number): Promise<void> {
  const stop: StopRequest = { signal: undefined };
  const update = (rows: number) => {
    if (rows > 2000) stop.signal = 'SIGTERM';
  };
  await assert.rejects(train(configured(out, threads), { ...silent, update }, stop), Interrupted);
}

test('a resumed run has the threads that it was begun with, and so the bytes of an undisturbed one', async () => {
  // One of the two is not the number of cores, so that resuming must know it.
  for (const threads of [1, 2]) {
    await train(configured(`whole-${threads}`, threads), silent, never);
    const out = `resumed-${threads}`;
    await stopped(out, threads);
    const said: string[] = [];
    await train(configured(out, 0, true), { ...silent, say: (line) => said.push(line) }, never);
    assert.deepEqual(weights(out), weights(`whole-${threads}`));
    assert.ok(!said.some((line) => line.includes('--threads')), said.join());
  }
  assert.notDeepEqual(weights('whole-1'), weights('whole-2'), 'there are last bits to keep');
});

test('another requested number is used, with a message, and kept from there on', async () => {
  await stopped('changed', 1);
  const said: string[] = [];
  const asked = await withOwnThreads(configured('changed', 2, true), (line) => said.push(line));
  assert.equal(asked.threads, 2);
  assert.match(said.join(), /--threads 2: the run had 1/);
  await train(configured('changed', 2, true), silent, never);
  assert.equal((await withOwnThreads(configured('changed', 0, true), () => {})).threads, 2);
});

test('a new run has one thread per core', async () => {
  const say = (line: string) => assert.fail(line);
  for (const resume of [false, true]) {
    assert.equal((await withOwnThreads(configured('new', 0, resume), say)).threads, availableParallelism());
    assert.equal((await withOwnThreads(configured('new', 7, resume), say)).threads, 7);
  }
});

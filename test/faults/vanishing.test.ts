import assert from 'node:assert/strict';
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { logged, refused } from '../cli/refused.js';
import { type Outcome, sleep, start } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';
import { HOOK, harvestWords, made, resultsBelow, succeeds, trainWords } from './commands.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const root = temporaryDirectory();
const { acts } = await made();
/** More rows than one pool: training comes back to the disk again and again. */
const LONG_TRAINING = { steps: 1000, 'pool-rows': 500, 'log-every': 10, 'checkpoint-every': 100 };

/** Whichever is met first: a file that is open and has no name any more, or a directory to write a new one to. */
const GONE = ['disk/out-deleted', 'disk/out-vanished'] as const;

/** Starts a command, and removes a directory as soon as a file of this name is in `out`. */
async function without(directory: string, out: string, name: RegExp, words: readonly string[]): Promise<Outcome> {
  const { child, outcome } = start(...logged(words));
  const there = () =>
    existsSync(out) && readdirSync(out, { recursive: true, encoding: 'utf8' }).some((path) => name.test(path));
  while (!there() && child.exitCode === null) await sleep(2);
  // Renamed first: `rm -rf` of a directory that is written to can find new files in it.
  renameSync(directory, `${directory}-gone`);
  rmSync(`${directory}-gone`, { recursive: true });
  return outcome;
}

test('harvest: --out that is removed is one sentence, and is not made again', async () => {
  const out = join(root, 'removed');
  const outcome = await without(out, out, /shard-00002\.arrow$/, harvestWords(out, 60_000));
  refused(outcome, GONE, out);
  assert.equal(existsSync(out), false);
});

test('train: the same', async () => {
  const out = join(root, 'removed-sae');
  const outcome = await without(out, out, /^checkpoint/, trainWords(join(acts, HOOK), out, LONG_TRAINING));
  refused(outcome, GONE, out);
  assert.equal(existsSync(out), false);
});

test('train: between checkpoints it is noticed at the next line of the curve', async () => {
  const out = join(root, 'removed-early');
  const words = trainWords(join(acts, HOOK), out, { ...LONG_TRAINING, 'checkpoint-every': 0 });
  refused(await without(out, out, /^metrics\.jsonl$/, words), GONE, out);
  assert.equal(existsSync(out), false);
});

test(
  'train: a store that is removed is one sentence, the steps are kept, and --resume ends in the same bytes',
  onDemand,
  async () => {
    const [store, out] = [join(root, 'removed-store'), join(root, 'without-store')];
    await succeeds(harvestWords(store));
    const words = trainWords(join(store, HOOK), out, LONG_TRAINING);
    const outcome = await without(store, out, /^checkpoint/, words);
    refused(outcome, 'activations/no-shard', store, /shard-\d+\.arrow/);
    assert.match(outcome.stderr, /step \d+ of 1000 is saved in .*without-store; .*--resume/);
    assert.ok(readdirSync(out).every((name) => !name.endsWith('.tmp')));
    await succeeds(harvestWords(store));
    await succeeds([...words, '--resume']);
    const whole = join(root, 'with-store');
    await succeeds(trainWords(join(acts, HOOK), whole, LONG_TRAINING));
    assert.deepEqual(resultsBelow(out), resultsBelow(whole));
  },
);

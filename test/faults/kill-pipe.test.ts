import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Generator } from '../../src/random/generator.js';
import { sleep, startPipe } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';
import { LONG, leftOver, linesOf, timeless } from './kills.js';

const TOKENS = 12_000;
const BATCH = 64;
const KILLS = LONG ? 10 : 1;
/** Steps before which the harvest is not at its end: it is two pools and a window ahead at most. */
const MOMENTS = Math.floor((TOKENS - 5000) / BATCH);
const root = temporaryDirectory();
const harvest = [
  ...['harvest', '--model', 'assets/tiny-gemma', '--corpus', 'assets/corpus/train.jsonl.gz', '--hook'],
  ...['blocks.1.hook_mlp_out', '--tokens', `${TOKENS}`, '--context', '64', '--batch', '4', '--window-rows', '1000'],
  ...['--rows-per-shard', '300', '--out', '-'],
];
const train = (out: string) => [
  ...['train', '--activations', '-', '--d-sae', '64', '--batch', `${BATCH}`, '--normalize', 'none', '--lr', '1e-3'],
  ...['--log-every', '1', '--checkpoint-every', '5', '--pool-rows', '1500', '--out', out, '--resume'],
];
const pipe = (out: string) => startPipe(temporaryDirectory(), harvest, train(out));
const curve = (out: string) => join(out, 'metrics.jsonl');

const onDemand = { skip: LONG ? false : 'with SAE_PIPE_LONG=1' };

test(
  `a pipe of which either side is killed, ${KILLS} times, is run again and ends in the bytes of an undisturbed one`,
  onDemand,
  async () => {
    const [whole, out] = [join(root, 'whole'), join(root, 'killed')];
    const undisturbed = pipe(whole);
    assert.deepEqual(await undisturbed.codes, [0, 0], undisturbed.right.stderr());
    const random = new Generator(3);
    const moments = Array.from({ length: KILLS }, () => random.below(MOMENTS));
    for (const [i, moment] of moments.sort((a, b) => a - b).entries()) {
      const { left, right, codes } = pipe(out);
      let ended = false;
      codes.then(() => {
        ended = true;
      });
      while (!ended && linesOf(curve(out)) <= moment) await sleep(2);
      process.kill(await (i % 2 ? left : right).pid(), 'SIGKILL');
      assert.deepEqual(await codes, i % 2 ? [137, 1] : [1, 137], left.stderr() + right.stderr());
    }
    const last = pipe(out);
    assert.deepEqual(await last.codes, [0, 0], last.left.stderr() + last.right.stderr());
    assert.deepEqual(leftOver(out), []);
    for (const file of ['cfg.json', 'sae_weights.safetensors']) {
      assert.deepEqual(readFileSync(join(out, file)), readFileSync(join(whole, file)), file);
    }
    assert.equal(timeless(readFileSync(curve(out), 'utf8')), timeless(readFileSync(curve(whole), 'utf8')));
  },
);

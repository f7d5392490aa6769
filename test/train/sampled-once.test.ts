import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, mock, test } from 'node:test';
import type { Batches } from '../../src/activations/activation-source.js';
import { ActivationBatches } from '../../src/activations/batches.js';
import type { Examples } from '../../src/activations/rows.js';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { silent, type Table } from '../../src/progress/progress.js';
import { trainRuns } from '../../src/sweep/train-runs.js';
import { sampledOnce } from '../../src/train/sampled-once.js';
import { train } from '../../src/train/train.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from './tiny-activations.js';

/** Batches whose inputs are pieces numbered from 0; counts readings, and those that were ended. */
function counted(pieces: number, failsAt = Number.POSITIVE_INFINITY) {
  const seen = { begun: 0, read: 0, ended: 0 };
  const numbers = async function* (occasion: number): AsyncIterable<Examples> {
    seen.begun++;
    try {
      for (let i = 0; i < pieces; i++) {
        if (i === failsAt) throw new Error('broken');
        seen.read++;
        yield { token: Int32Array.of(occasion, i) } as unknown as Examples;
      }
    } finally {
      seen.ended++;
    }
  };
  return { seen, batches: { inputs: numbers } as unknown as Batches };
}

async function look({ inputs }: Batches, most: number, occasion = 0): Promise<string[]> {
  const found: string[] = [];
  for await (const { token } of inputs(occasion)) {
    found.push(token.join());
    if (found.length === most) break;
  }
  return found;
}

test('passes before the first step read each piece once, those of resampling read again, and nothing stays open', async () => {
  const { seen, batches } = counted(4);
  const looks = sampledOnce(batches);
  assert.deepEqual(await look(looks, 2), ['0,0', '0,1']);
  assert.deepEqual(await look(looks, 1), ['0,0']);
  assert.deepEqual(await look(looks, 3), ['0,0', '0,1', '0,2']);
  assert.deepEqual(seen, { begun: 1, read: 3, ended: 0 });
  assert.deepEqual(await look(looks, 1, 7), ['7,0']);
  assert.deepEqual(seen, { begun: 2, read: 4, ended: 1 });
  await looks.done();
  await looks.done();
  assert.equal(seen.ended, 2);
  assert.equal((await look(looks, 9)).length, 4);
  assert.equal((await look(looks, 9)).length, 4);
  assert.deepEqual(seen, { begun: 3, read: 8, ended: 3 });
});

test('a pass after a failed one fails, too', async () => {
  const looks = sampledOnce(counted(4, 2).batches);
  assert.equal((await look(looks, 2)).length, 2);
  for (const _ of [1, 2]) await assert.rejects(look(looks, 3), /broken/);
});

const root = temporaryDirectory();
let activations: string;
/** Shards that looks before the first step read. */
let shards: number[] = [];
/** Readings of a store that were begun and have not ended. */
let open = 0;

before(async () => {
  activations = await tinyActivations(root, 'blocks.2.hook_resid_post');
  const inputs = ActivationBatches.prototype.inputs;
  mock.method(ActivationBatches.prototype, 'inputs', async function* (this: ActivationBatches, occasion: number) {
    open++;
    try {
      for await (const piece of inputs.call(this, occasion)) {
        if (occasion === 0) shards.push(piece.context[0]!);
        yield piece;
      }
    } finally {
      open--;
    }
  });
});

const configured = (out: string, more: Partial<TrainConfig> = {}): TrainConfig =>
  trainSchema.parse({
    ...{ activations, dSae: 32, steps: 1, batch: 64, threads: 1, l2Normalise: true, checkpointEvery: '0' },
    ...{ discardState: true, out: join(root, out), ...more },
  });

test('a run reads each shard once before its first step, however many passes it takes', async () => {
  await train(configured('alone'), silent, { signal: undefined });
  // The store has four shards, of fewer rows than any look.
  assert.equal(shards.length, 4);
  assert.equal(new Set(shards).size, 4);
  assert.equal(open, 0);
});

test('runs that share a read share these passes', async () => {
  shards = [];
  const runs = ['a', 'b', 'c'].map((name, i) => ({ name, config: configured(name, { l1: i + 1 }) }));
  const table = { update() {}, finish() {} } as unknown as Table;
  const outcomes = await trainRuns(runs as never, table, () => 0, silent, { signal: undefined });
  assert.deepEqual(
    outcomes.map(({ state }) => state),
    ['trained', 'trained', 'trained'],
  );
  assert.deepEqual([shards.length, open], [4, 0]);
});

test('a stop during such a pass ends the reading', async () => {
  shards = [];
  const stop = {
    get signal() {
      return shards.length > 1 ? ('SIGINT' as const) : undefined;
    },
  };
  await assert.rejects(train(configured('stopped'), silent, stop), Interrupted);
  assert.deepEqual([shards.length, open], [2, 0]);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { blockLength, writeBlock } from '../../../../src/train/engines/sparse/kernels.js';
import { LargestOfBatch } from '../../../../src/train/engines/sparse/largest-of-batch.js';
import { padded, TALLY } from '../../../../src/train/engines/sparse/memory.js';
import { allocateShared, Exchange } from '../../../../src/train/engines/sparse/worker-pool.js';
import { memoryOf, unset, unsetIntegers } from './memory.js';

const all = (n: number) => Array.from({ length: n }, (_, i) => i);

/** A worker whose list has the positive entries of h [features, B], p = h and bias 0. */
function workerOf(h: Float32Array, features: number, B: number) {
  const product = new Float32Array(features * padded(B)).fill(1e9);
  for (let j = 0; j < features; j++) product.set(h.subarray(j * B, (j + 1) * B), j * padded(B));
  const memory = memoryOf({
    ...{ product, bias: new Float32Array(features), start: unsetIntegers(features + 1) },
    ...{ token: unsetIntegers(features * B + 1), p: unset(features * B + 1), tally: unsetIntegers(TALLY) },
    ...{ 'main/floor': unset(1), 'main/ties': unsetIntegers(1) },
    ...{ step: new Uint32Array(blockLength('Step')), 'main/block': new Uint32Array(blockLength('Entries')) },
  });
  const { arena, at, kernels, now } = memory;
  writeBlock(arena, 'step', 'Step', { features, B, Bp: padded(B), opens: at('bias'), bias: at('bias') });
  writeBlock(arena, 'main/block', 'Entries', {
    ...{ limit: features * B, start: at('start'), token: at('token'), p: at('p') },
    ...{ floor: at('main/floor'), ties: at('main/ties') },
  });
  const sizes = {
    batchBytes: 4,
    targetBytes: 0,
    B,
    dIn: 16,
    dOut: 16,
    sums: 1,
    limits: [0, 0],
    counts: false,
    tallies: 0,
  };
  const exchange = new Exchange(allocateShared({ workers: 1, ...sizes }), 0);
  const list = () => {
    kernels.open(at('step'), at('main/block'));
    kernels.compact(at('step'), at('main/block'), at('product'), 0, 0, features);
  };
  const entries = () => {
    kernels.close(at('step'), at('main/block'));
    memory.assertMargins();
    return all(features).flatMap((j) =>
      [...now.token.subarray(now.start[j]!, now.start[j + 1]!)].map((token) => `${j},${token}`),
    );
  };
  return { arena, kernels, exchange, meet: () => {}, list, entries };
}

/** The `count` largest above 0 by sorting, and the smallest of them; NaN counts as infinite. */
function wanted(h: Float32Array, B: number, count: number) {
  const keys = Array.from(h, (value) => (Number.isNaN(value) ? Number.POSITIVE_INFINITY : value));
  const kept = all(h.length)
    .filter((n) => keys[n]! > 0)
    .sort((a, b) => (keys[a] === keys[b] ? a - b : keys[b]! - keys[a]!))
    .slice(0, count);
  const smallest = kept.length > 0 ? keys[kept.at(-1)!] : undefined;
  return { entries: kept.sort((a, b) => a - b).map((n) => `${Math.floor(n / B)},${n % B}`), smallest };
}

const VALUES: Record<string, (random: Generator) => number> = {
  'normal numbers': (random) => random.normal(),
  'numbers of all sizes': (random) => random.normal() * 10 ** (60 * random.uniform() - 40),
  'many ties': (random) => Math.round(2 * random.normal()) / 2,
  'nothing positive': (random) => -Math.abs(random.normal()),
  'NaN and infinities': (random) =>
    [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1, 2][random.below(5)]!,
  'one number': () => 1,
};

for (const [what, value] of Object.entries(VALUES)) {
  test(`the largest of a batch of ${what} are those of a sort`, () => {
    const random = new Generator(97);
    for (const [features, B] of [
      [1, 1],
      [7, 3],
      [40, 17],
    ] as const) {
      const h = Float32Array.from({ length: features * B }, () => value(random));
      for (const count of [1, 2, B, 3 * B, features * B - 1, features * B, 2 * features * B]) {
        const worker = workerOf(h, features, B);
        const largest = new LargestOfBatch(worker, Math.max(1, count));
        largest.begin(true);
        worker.list();
        // A list that grows too long is cut to the largest before more come.
        largest.makeRoom();
        assert.ok(largest.settle());
        const { entries, smallest } = wanted(h, B, Math.max(1, count));
        assert.deepEqual(worker.entries(), entries, `${features}, ${B}: ${count}`);
        assert.equal(largest.smallest, smallest);
      }
    }
  });
}

test('if fewer than needed are above the guess, the batch must be selected from again, without one', () => {
  const [features, B] = [10, 8];
  const random = new Generator(98);
  const h = Float32Array.from({ length: features * B }, () => Math.abs(random.normal()));
  const worker = workerOf(h, features, B);
  const largest = new LargestOfBatch(worker, 20);
  largest.begin(true);
  worker.list();
  assert.ok(largest.settle());
  const { smallest } = largest;
  // The next batch has but 19 above what is guessed from this one.
  largest.begin(true);
  worker.list();
  const view = worker.arena.f32('p');
  for (let n = 19; n < view.length; n++) view[n] = 0;
  writeBlock(worker.arena, 'main/block', 'Entries', { count: 19 });
  worker.arena.u32('start').fill(0);
  assert.equal(largest.settle(), false);
  largest.begin(false);
  worker.list();
  assert.ok(largest.settle());
  assert.equal(largest.smallest, smallest);
  assert.deepEqual(worker.entries(), wanted(h, B, 20).entries);
});

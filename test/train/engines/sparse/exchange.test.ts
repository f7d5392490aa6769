import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import {
  allocateShared,
  Exchange,
  type SharedSizes,
  sharedBytes,
} from '../../../../src/train/engines/sparse/worker-pool.js';
import type { BarrierReport, BarrierStart } from './barrier-worker.js';

const ONE: SharedSizes = {
  ...{ workers: 1, batchBytes: 4, targetBytes: 0, B: 1, dIn: 16, dOut: 16, sums: 1, limits: [0, 0], tallies: 0 },
  counts: false,
};

function report(start: BarrierStart): Promise<BarrierReport> {
  const worker = new Worker(new URL('barrier-worker.js', import.meta.url), { workerData: start });
  return new Promise((resolve, reject) => {
    worker.on('message', resolve);
    worker.on('error', reject);
    worker.on('exit', (code) => reject(new Error(`a worker ended with code ${code}`)));
  });
}

test('nobody leaves a barrier before all have come, nor passes two while another waits', {
  timeout: 20_000,
}, async () => {
  const [workers, rounds] = [3, 2000];
  const shared = allocateShared({ ...ONE, workers });
  const arrivals = new SharedArrayBuffer(4 * workers);
  const starts = Array.from({ length: workers }, (_, index) => ({ shared, index, workers, rounds, arrivals }));
  const reports = await Promise.all(starts.map(report));
  assert.deepEqual(reports, new Array(workers).fill({ early: 0, overtaken: 0 }));
  assert.deepEqual([...new Int32Array(arrivals)], new Array(workers).fill(rounds));
});

test('one worker waits for nobody', () => {
  const exchange = new Exchange(allocateShared(ONE), 0);
  exchange.barrier();
  exchange.barrier();
  assert.deepEqual([...new Int32Array(exchange.shared.control)], [0, 0]);
});

test('workers complete rows of the batch: each row belongs to one', () => {
  for (const [B, workers] of [
    [1, 1],
    [1, 4],
    [10, 3],
    [64, 7],
  ] as const) {
    const shared = allocateShared({ ...ONE, workers, B });
    const owners = new Array(B).fill(0);
    for (let index = 0; index < workers; index++) {
      const exchange = new Exchange(shared, index);
      const [first, last] = exchange.range();
      assert.deepEqual(exchange.range(index), [first, last]);
      for (let row = first; row < last; row++) owners[row]++;
    }
    assert.deepEqual(owners, new Array(B).fill(1), `${B} rows, ${workers} workers`);
  }
});

test('shared arrays of workers do not overlap', () => {
  const sizes: SharedSizes = {
    ...{ workers: 3, batchBytes: 40, targetBytes: 20, B: 5, dIn: 32, dOut: 16, sums: 2, limits: [4, 2], tallies: 4096 },
    counts: true,
  };
  assert.deepEqual(sharedBytes(sizes), {
    ...{ control: 8, batch: 40, target: 20, partial: 3 * 2 * 5 * 16 * 4, bias: 3 * (32 + 16) * 4 },
    ...{ tops: 3 * 5 * (4 + 2) * 4, floors: 2 * 5 * 4, ties: 2 * 3 * 5 * 4, numbers: 3 * 5 * 8 },
    ...{ tallies: 3 * 4096 * 4, counts: 3 * 5 * 4 },
  });
  const shared = allocateShared(sizes);
  const [mine, other] = [0, 2].map((index) => new Exchange(shared, index));
  const places = (e: Exchange) => {
    const rows = Array.from({ length: 5 }, (_, row) => [row, row + 1] as const);
    return [0, 1, 2].flatMap((worker) => [
      ...[0, 1].flatMap((sum) => rows.map((row) => e.partial(worker, sum, row))),
      ...([0, 1] as const).map((row) => e.bias(worker, row)),
      ...[0, 1].flatMap((list) => rows.flatMap((row) => [e.top(list, worker, row), e.ties(list, worker, row)])),
      e.numbers(worker),
      ...[0, 1].map((slot) => e.tally(worker, slot)),
      e.counts(worker),
      ...(worker === 0 ? [0, 1].flatMap((list) => rows.map((row) => e.floor(list, row))) : []),
    ]);
  };
  for (const [i, place] of places(mine!).entries()) place.fill(i + 1);
  for (const [i, place] of places(other!).entries()) assert.deepEqual([...place], new Array(place.length).fill(i + 1));
  const whole = Object.values(sharedBytes({ ...sizes, batchBytes: 0, targetBytes: 0 })).reduce((a, b) => a + b, 0) - 8;
  assert.equal(
    places(mine!).reduce((sum, place) => sum + place.byteLength, 0),
    whole,
  );
  assert.deepEqual(mine!.partial(1, 1, [2, 4]).byteLength, 2 * 16 * 4);
});

test('a list without a limit has no heaps', () => {
  const shared = allocateShared({ ...ONE, workers: 2, B: 3, limits: [0, 2] });
  const exchange = new Exchange(shared, 0);
  exchange.top(1, 1, [0, 3]).fill(1);
  exchange.ties(1, 1, [0, 3]).fill(2);
  exchange.floor(1, [0, 3]).fill(3);
  assert.deepEqual(
    [shared.tops, shared.ties, shared.floors].map((buffer) => buffer.byteLength / 4),
    [12, 6, 3],
  );
});

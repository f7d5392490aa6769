import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { allocateShared, Exchange, sharedBytes } from '../../../../src/train/engines/sparse/exchange.js';
import type { BarrierReport, BarrierStart } from './barrier-worker.js';

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
  const shared = allocateShared(sharedBytes(workers, 4, 1, 16, 1));
  const arrivals = new SharedArrayBuffer(4 * workers);
  const starts = Array.from({ length: workers }, (_, index) => ({ shared, index, workers, rounds, arrivals }));
  const reports = await Promise.all(starts.map(report));
  assert.deepEqual(reports, new Array(workers).fill({ early: 0, overtaken: 0 }));
  assert.deepEqual([...new Int32Array(arrivals)], new Array(workers).fill(rounds));
});

test('one worker waits for nobody', () => {
  const exchange = new Exchange(allocateShared(sharedBytes(1, 4, 1, 16, 1)), 0, 1, 1, 16, 1);
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
    const shared = allocateShared(sharedBytes(workers, 4, B, 16, 1));
    const owners = new Array(B).fill(0);
    for (let index = 0; index < workers; index++) {
      const exchange = new Exchange(shared, index, workers, B, 16, 1);
      const [first, last] = exchange.range();
      assert.deepEqual(exchange.range(index), [first, last]);
      for (let row = first; row < last; row++) owners[row]++;
    }
    assert.deepEqual(owners, new Array(B).fill(1), `${B} rows, ${workers} workers`);
  }
});

test('partial sums and bias rows are places of their own in what is shared', () => {
  const [workers, B, d, sums] = [3, 5, 16, 2];
  const bytes = sharedBytes(workers, 40, B, d, sums);
  assert.deepEqual(bytes, { control: 8, batch: 40, partial: 3 * 2 * 5 * 16 * 4, bias: 3 * 2 * 16 * 4 });
  const shared = allocateShared(bytes);
  const [mine, other] = [0, 2].map((index) => new Exchange(shared, index, workers, B, d, sums));
  let mark = 1;
  for (let worker = 0; worker < workers; worker++) {
    for (let sum = 0; sum < sums; sum++) {
      for (let row = 0; row < B; row++) mine!.partial(worker, sum, [row, row + 1]).fill(mark++);
    }
    for (const row of [0, 1] as const) mine!.bias(worker, row).fill(100 * worker + row + 1);
  }
  mark = 1;
  for (let worker = 0; worker < workers; worker++) {
    for (let sum = 0; sum < sums; sum++) {
      const rows = other!.partial(worker, sum, [0, B]);
      assert.deepEqual(
        rows,
        Float32Array.from({ length: B * d }, (_, i) => mark + Math.floor(i / d)),
      );
      assert.deepEqual(other!.partial(worker, sum, [2, 4]), rows.slice(2 * d, 4 * d));
      mark += B;
    }
    for (const row of [0, 1] as const) {
      assert.deepEqual(other!.bias(worker, row), new Float32Array(d).fill(100 * worker + row + 1));
    }
  }
});

import { parentPort, workerData } from 'node:worker_threads';
import { Exchange, type Shared } from '../../../../src/train/engines/sparse/worker-pool.js';

export interface BarrierStart {
  readonly shared: Shared;
  readonly index: number;
  readonly workers: number;
  readonly rounds: number;
  /** Int32 [workers]: rounds that each worker has come to. */
  readonly arrivals: SharedArrayBuffer;
}

/** Rounds after which another worker had not arrived at the barrier, or had already passed the next one. */
export interface BarrierReport {
  readonly early: number;
  readonly overtaken: number;
}

/** Passes barriers with workers that dawdle in turn, and watches who has arrived. */
function watch({ shared, index, workers, rounds, arrivals }: BarrierStart): BarrierReport {
  const exchange = new Exchange(shared, index);
  const seen = new Int32Array(arrivals);
  let [early, overtaken] = [0, 0];
  for (let round = 1; round <= rounds; round++) {
    // Short waits meet the barrier's spinning, long ones its sleep.
    if (round % workers === index) dawdle(round % 50 === 0 ? 200_000 : (round * 37) % 500);
    Atomics.store(seen, index, round);
    exchange.barrier();
    for (let other = 0; other < workers; other++) {
      const arrived = Atomics.load(seen, other);
      if (arrived < round) early++;
      // From here to the next barrier others may arrive there, and no further.
      if (arrived > round + 1) overtaken++;
    }
  }
  return { early, overtaken };
}

function dawdle(turns: number): void {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  for (let turn = 0; turn < turns; turn++) Atomics.add(cell, 0, 1);
}

parentPort!.postMessage(watch(workerData as BarrierStart));

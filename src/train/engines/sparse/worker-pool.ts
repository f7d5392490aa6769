import { Worker } from 'node:worker_threads';
import { TALLY } from './memory.js';

/** A request, and the buffers to transfer. */
export interface Sent<Request> {
  readonly request: Request;
  readonly transfer: readonly ArrayBuffer[];
}

/**
 * Worker pool: broadcasts each request and collects one reply per worker; the first reply is to the start. If one
 * fails, the others are terminated, and whoever waits receives the error.
 */
export class WorkerPool<Data, Request, Reply> {
  private readonly workers: Worker[];
  private waiting: { resolve: (replies: Reply[]) => void; reject: (cause: Error) => void } | undefined;
  private replies: Reply[] = [];
  private missing: number;
  private failure: Error | undefined;
  private closing = false;

  constructor(script: URL, starts: readonly Data[]) {
    this.workers = starts.map((data, index) => {
      const worker = new Worker(script, { workerData: data });
      worker.on('message', (reply: Reply) => this.receive(index, reply));
      worker.on('error', (cause) => this.fail(index, cause));
      worker.on('exit', (code) => this.fail(index, new Error(`it ended with code ${code}`)));
      return worker;
    });
    this.missing = this.workers.length;
  }

  /** Resolves once every worker has started. */
  async ready(): Promise<void> {
    await this.answers();
  }

  /** Sends a request to every worker; returns their replies in worker order. */
  ask(request: Request): Promise<Reply[]> {
    return this.askEach(this.workers.map(() => ({ request, transfer: [] })));
  }

  /** Sends each worker its own request; returns their replies in worker order. */
  askEach(requests: readonly Sent<Request>[]): Promise<Reply[]> {
    if (this.failure) return Promise.reject(this.failure);
    if (this.missing > 0) throw new Error('the workers are asked while they work');
    this.replies = [];
    this.missing = this.workers.length;
    this.workers.forEach((worker, index) => {
      const { request, transfer } = requests[index]!;
      worker.ref();
      worker.postMessage(request, transfer);
    });
    return this.answers();
  }

  /** Are they ready for a request? */
  get idle(): boolean {
    return this.failure === undefined && !this.closing && this.missing === 0;
  }

  async close(): Promise<void> {
    this.closing = true;
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }

  private answers(): Promise<Reply[]> {
    if (this.failure) return Promise.reject(this.failure);
    if (this.missing === 0) return Promise.resolve(this.replies);
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
    });
  }

  private receive(index: number, reply: Reply): void {
    this.replies[index] = reply;
    if (--this.missing > 0) return;
    // Idle workers do not keep the process alive, unless their end is awaited.
    if (!this.closing) for (const worker of this.workers) worker.unref();
    this.waiting?.resolve(this.replies);
    this.waiting = undefined;
  }

  private fail(index: number, cause: Error): void {
    if (this.closing || this.failure) return;
    const reason = cause.message.trim().replace(/\.$/, '');
    this.failure = new Error(`Worker ${index} of the training engine failed: ${reason}`, { cause });
    const { failure, waiting } = this;
    this.waiting = undefined;
    // The others may wait for it at a barrier forever. Whoever receives the error may need files that they hold open.
    void this.close().finally(() => waiting?.reject(failure));
  }
}

/** Sizes of shared memory; rows are padded. */
export interface SharedSizes {
  readonly workers: number;
  /** Bytes of a stored batch, and of its target, 0 if that is the input. */
  readonly batchBytes: number;
  readonly targetBytes: number;
  readonly B: number;
  readonly dIn: number;
  readonly dOut: number;
  /** Arrays of partial sums [B, d_out]. */
  readonly sums: number;
  /** Max entries per token in each list; 0 for no limit. */
  readonly limits: readonly number[];
  /** Number of digit counts that a worker shares per step, if entries of a whole batch are compared. */
  readonly tallies: number;
  /** Are there features to count, token by token? */
  readonly counts: boolean;
}

/**
 * Memory shared by workers: the batch, partial sums, the k largest of each token, and a barrier. Plain data, to be sent
 * to them.
 */
export interface Shared {
  readonly sizes: SharedSizes;
  readonly control: SharedArrayBuffer;
  readonly batch: SharedArrayBuffer;
  readonly target: SharedArrayBuffer;
  /** For each worker, `sums` arrays of [B, d_out]. */
  readonly partial: SharedArrayBuffer;
  /** For each worker, its parts of Σ_b r_b [d_out] and of the encoder's gradient of b_dec (pull) [d_in]. */
  readonly bias: SharedArrayBuffer;
  /** For each list and worker, heaps [B, k]. */
  readonly tops: SharedArrayBuffer;
  /** For each list [B] the k-th largest, and for each worker [B] how many of its entries may equal it. */
  readonly floors: SharedArrayBuffer;
  readonly ties: SharedArrayBuffer;
  /** For each worker, TALLIES of [TALLY] u32. */
  readonly tallies: SharedArrayBuffer;
  /** For each worker [B], its number of features per token. */
  readonly counts: SharedArrayBuffer;
  /** For each worker, the float64 numbers that it reports to the others. */
  readonly numbers: SharedArrayBuffer;
}

/**
 * Numbers that a worker reports to the others: its dead features, its columns' part of two variances, whether it
 * guessed wrong, and the squares of its gradients.
 */
const NUMBERS = 5;

/** Bytes of each shared buffer. */
export function sharedBytes({ workers, B, dIn, dOut, sums, limits, ...sizes }: SharedSizes) {
  const limited = limits.filter((k) => k > 0).length;
  return {
    control: 8,
    batch: sizes.batchBytes,
    target: sizes.targetBytes,
    partial: workers * sums * B * dOut * 4,
    bias: workers * (dOut + dIn) * 4,
    tops: workers * B * limits.reduce((a, b) => a + b, 0) * 4,
    floors: limited * B * 4,
    ties: limited * workers * B * 4,
    tallies: workers * sizes.tallies * 4,
    counts: sizes.counts ? workers * B * 4 : 0,
    numbers: workers * NUMBERS * 8,
  };
}

export function allocateShared(sizes: SharedSizes): Shared {
  const buffers = Object.entries(sharedBytes(sizes)).map(([name, bytes]) => [name, new SharedArrayBuffer(bytes)]);
  return { sizes, ...Object.fromEntries(buffers) };
}

const ARRIVED = 0;
const GENERATION = 1;
/** Spins before a waiting worker sleeps: waking takes longer than most waits. */
const LOOKS = 2000;

/** One worker's access to the shared memory. */
export class Exchange {
  private readonly control: Int32Array;

  readonly workers: number;

  constructor(
    readonly shared: Shared,
    readonly index: number,
  ) {
    this.workers = shared.sizes.workers;
    this.control = new Int32Array(shared.control);
  }

  /** Barrier: returns once every worker has arrived. */
  barrier(): void {
    if (this.workers === 1) return;
    const generation = Atomics.load(this.control, GENERATION);
    if (Atomics.add(this.control, ARRIVED, 1) === this.workers - 1) {
      Atomics.store(this.control, ARRIVED, 0);
      Atomics.add(this.control, GENERATION, 1);
      Atomics.notify(this.control, GENERATION);
      return;
    }
    for (let look = 0; look < LOOKS; look++) {
      if (Atomics.load(this.control, GENERATION) !== generation) return;
    }
    while (Atomics.load(this.control, GENERATION) === generation) Atomics.wait(this.control, GENERATION, generation);
  }

  /** Rows [first, last) of the batch whose sums `worker` completes. */
  range(worker = this.index): readonly [first: number, last: number] {
    const { B } = this.shared.sizes;
    return [Math.floor((B * worker) / this.workers), Math.floor((B * (worker + 1)) / this.workers)];
  }

  /** Partial sum number `sum` of `worker`: rows [first, last). */
  partial(worker: number, sum: number, [first, last]: readonly [number, number]): Float32Array {
    const { B, dOut, sums } = this.shared.sizes;
    const start = ((worker * sums + sum) * B + first) * dOut;
    return new Float32Array(this.shared.partial, start * 4, (last - first) * dOut);
  }

  /** `worker`'s part of the gradient of b_dec: as the decoder's bias (row 0), or through the encoder's input (1). */
  bias(worker: number, row: 0 | 1): Float32Array {
    const { dIn, dOut } = this.shared.sizes;
    const start = worker * (dOut + dIn) + row * dOut;
    return new Float32Array(this.shared.bias, start * 4, row === 0 ? dOut : dIn);
  }

  /** `worker`'s heaps of a list: rows [first, last). */
  top(list: number, worker: number, [first, last]: readonly [number, number]): Float32Array {
    const { B, limits } = this.shared.sizes;
    const k = limits[list]!;
    const before = limits.slice(0, list).reduce((a, b) => a + b, 0) * this.workers * B;
    return new Float32Array(this.shared.tops, (before + (worker * B + first) * k) * 4, (last - first) * k);
  }

  /** The k-th largest of each token in a list: rows [first, last). */
  floor(list: number, [first, last]: readonly [number, number]): Float32Array {
    const start = this.limited(list) * this.shared.sizes.B + first;
    return new Float32Array(this.shared.floors, start * 4, last - first);
  }

  /** How many of `worker`'s entries may equal it. */
  ties(list: number, worker: number, [first, last]: readonly [number, number]): Uint32Array {
    const start = (this.limited(list) * this.workers + worker) * this.shared.sizes.B + first;
    return new Uint32Array(this.shared.ties, start * 4, last - first);
  }

  /** Counts shared by `worker`, number `slot` of a step. */
  tally(worker: number, slot: number): Uint32Array {
    const start = worker * this.shared.sizes.tallies + slot * TALLY;
    return new Uint32Array(this.shared.tallies, start * 4, TALLY);
  }

  /** `worker`'s number of features per token. */
  counts(worker: number): Uint32Array {
    const { B } = this.shared.sizes;
    return new Uint32Array(this.shared.counts, worker * B * 4, B);
  }

  /** Numbers reported by `worker`. */
  numbers(worker: number): Float64Array {
    return new Float64Array(this.shared.numbers, worker * NUMBERS * 8, NUMBERS);
  }

  /** Number of limited lists before this one. */
  private limited(list: number): number {
    return this.shared.sizes.limits.slice(0, list).filter((k) => k > 0).length;
  }
}

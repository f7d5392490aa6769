const ARRIVED = 0;
const GENERATION = 1;
/** Looks before a waiting worker goes to sleep: waking takes longer than most waits. */
const LOOKS = 2000;

/** What workers share: the batch, partial sums of [B, d], and a barrier. Plain data, so that it can be sent to them. */
export interface Shared {
  readonly control: SharedArrayBuffer;
  readonly batch: SharedArrayBuffer;
  /** For each worker, `sums` arrays of [B, d]. */
  readonly partial: SharedArrayBuffer;
  /** For each worker [2, d]: its parts of Σ_b r_b and of the pull on b_dec. */
  readonly bias: SharedArrayBuffer;
}

/** Bytes of each shared buffer. */
export function sharedBytes(workers: number, batchBytes: number, B: number, d: number, sums: number) {
  return { control: 8, batch: batchBytes, partial: workers * sums * B * d * 4, bias: workers * 2 * d * 4 };
}

export function allocateShared(bytes: ReturnType<typeof sharedBytes>): Shared {
  return {
    control: new SharedArrayBuffer(bytes.control),
    batch: new SharedArrayBuffer(bytes.batch),
    partial: new SharedArrayBuffer(bytes.partial),
    bias: new SharedArrayBuffer(bytes.bias),
  };
}

/** One worker's end of what is shared. */
export class Exchange {
  private readonly control: Int32Array;

  constructor(
    readonly shared: Shared,
    readonly index: number,
    readonly workers: number,
    private readonly B: number,
    private readonly d: number,
    private readonly sums: number,
  ) {
    this.control = new Int32Array(shared.control);
  }

  /** Returns when every worker has come here. */
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
    return [Math.floor((this.B * worker) / this.workers), Math.floor((this.B * (worker + 1)) / this.workers)];
  }

  /** Partial sum number `sum` of `worker`: rows [first, last). */
  partial(worker: number, sum: number, [first, last]: readonly [number, number]): Float32Array {
    const start = ((worker * this.sums + sum) * this.B + first) * this.d;
    return new Float32Array(this.shared.partial, start * 4, (last - first) * this.d);
  }

  /** Row 0 or 1 of `worker`'s part of the gradient of b_dec. */
  bias(worker: number, row: 0 | 1): Float32Array {
    return new Float32Array(this.shared.bias, (worker * 2 + row) * this.d * 4, this.d);
  }
}

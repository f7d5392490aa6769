import type { StopRequest } from '../progress/progress.js';

const LEFT = 0;
const READ = 1;
/** Pieces that are computed before the first of them was read, at most. */
const AHEAD = 16;
/** More pieces than there ever are. */
const ALL = 2 ** 30;

/**
 * Whoever reads what a thread computes, piece by piece, in memory that both threads see: the one that computes stops when
 * they have left, and waits while they do not read.
 */
export class Audience implements StopRequest {
  private readonly state: Int32Array;
  private told = 0;

  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(8)) {
    this.state = new Int32Array(memory);
  }

  /** They have read one more piece. */
  reads(): void {
    Atomics.add(this.state, READ, 1);
    Atomics.notify(this.state, READ);
  }

  leaves(): void {
    Atomics.store(this.state, LEFT, 1);
    // Who waits for reads sees another number, before it sleeps or by being woken.
    Atomics.add(this.state, READ, ALL);
    Atomics.notify(this.state, READ);
  }

  /** As a closed terminal asks to stop. */
  get signal(): 'SIGHUP' | undefined {
    return Atomics.load(this.state, LEFT) === 1 ? 'SIGHUP' : undefined;
  }

  /** For the thread that computes: a piece was told. Returns when not too many are unread. */
  hears(): void {
    this.told++;
    for (;;) {
      const read = Atomics.load(this.state, READ);
      if (this.told - read <= AHEAD) return;
      Atomics.wait(this.state, READ, read);
    }
  }
}

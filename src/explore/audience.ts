import type { StopRequest } from '../progress/progress.js';

const LEFT = 0;
const READ = 1;
/** Max pieces computed before the first of them has been read. */
const AHEAD = 16;
/** More pieces than there ever are. */
const ALL = 2 ** 30;

/**
 * The reader of what a thread computes, piece by piece, in memory shared by both threads: the computing thread stops
 * when the reader has gone, and waits while it does not read.
 */
export class Audience implements StopRequest {
  private readonly state: Int32Array;
  private told = 0;

  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(8)) {
    this.state = new Int32Array(memory);
  }

  /** Called when one more piece has been read. */
  reads(): void {
    Atomics.add(this.state, READ, 1);
    Atomics.notify(this.state, READ);
  }

  leaves(): void {
    Atomics.store(this.state, LEFT, 1);
    // The waiting thread sees the new value, either before sleeping or when woken.
    Atomics.add(this.state, READ, ALL);
    Atomics.notify(this.state, READ);
  }

  /** Stops like a closed terminal. */
  get signal(): 'SIGHUP' | undefined {
    return Atomics.load(this.state, LEFT) === 1 ? 'SIGHUP' : undefined;
  }

  /** For the computing thread, after sending a piece. Returns once few enough are unread. */
  hears(): void {
    this.told++;
    for (;;) {
      const read = Atomics.load(this.state, READ);
      if (this.told - read <= AHEAD) return;
      Atomics.wait(this.state, READ, read);
    }
  }
}

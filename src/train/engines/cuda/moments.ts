import { setTimeout as later, setImmediate as nextTurn } from 'node:timers/promises';
import type { Moment } from './device.js';
import type { Driver } from './driver.js';

/** CU_EVENT_DISABLE_TIMING: nobody reads times from them, and recording is cheaper. */
const WITHOUT_TIMING = 2;
/** Milliseconds for which a wait looks at every turn of the event loop, before it looks once a millisecond. */
const EAGER = 20;

class Recorded implements Moment {
  /** The event, until it is known to be reached. */
  event: bigint | null;

  constructor(
    event: bigint,
    readonly reached: () => Promise<void>,
  ) {
    this.event = event;
  }
}

/** Moments of a device, each an event recorded in a stream. Events of moments that are over serve again. */
export class Moments {
  private readonly pending: Recorded[] = [];
  private readonly spare: bigint[] = [];
  private closed = false;

  constructor(private readonly driver: Driver) {}

  /** Now, in the order of the stream's work. */
  record(stream: bigint): Moment {
    this.sweep();
    const event = this.spare.pop() ?? this.driver.made('cuEventCreate', WITHOUT_TIMING);
    try {
      this.driver.call('cuEventRecord', event, stream);
    } catch (error) {
      this.spare.push(event);
      throw error;
    }
    const moment: Recorded = new Recorded(event, () => this.reached(moment));
    this.pending.push(moment);
    return moment;
  }

  /** Work of the stream from here on starts after the moment. */
  wait(stream: bigint, moment: Moment): void {
    const { event } = own(moment);
    if (event !== null) this.driver.call('cuStreamWaitEvent', stream, event, 0);
  }

  private async reached(moment: Recorded): Promise<void> {
    const begun = performance.now();
    while (!this.isOver(moment)) {
      await (performance.now() - begun < EAGER ? nextTurn() : later(1));
    }
  }

  private isOver(moment: Recorded): boolean {
    if (moment.event === null) return true;
    if (this.closed) throw new Error('the device was closed while a moment of it was waited for');
    if (!this.driver.reached(moment.event)) return false;
    this.spare.push(moment.event);
    moment.event = null;
    return true;
  }

  /** Takes back the events of the oldest moments that are over, so that there are no more than work in flight has. */
  private sweep(): void {
    while (this.pending.length > 0 && this.isOver(this.pending[0]!)) this.pending.shift();
  }

  /** @param destroy is called with each event, all work being done or lost */
  close(destroy: (event: bigint) => void): void {
    this.closed = true;
    const waitedFor = this.pending.filter(({ event }) => event !== null);
    for (const event of [...this.spare, ...waitedFor.map(({ event }) => event!)]) destroy(event);
    this.spare.length = this.pending.length = 0;
  }
}

function own(moment: Moment): Recorded {
  if (moment instanceof Recorded) return moment;
  throw new TypeError('a moment of another device');
}

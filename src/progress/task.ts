/** A piece of work under way: how far it is, how fast it goes, what time it has left. */
export class Task {
  private readonly started: number;
  private first: number | undefined;
  /** Units done; 0 before the first update. */
  done = 0;

  /**
   * @param total units of the whole
   * @param now a clock in milliseconds
   */
  constructor(
    readonly label: string,
    readonly total: number,
    readonly unit: string,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.started = now();
  }

  /** Has it been told how far it is? */
  get begun(): boolean {
    return this.first !== undefined;
  }

  update(done: number): void {
    // What an earlier run did does not count into the rate.
    this.first ??= done;
    this.done = done;
  }

  /** Seconds since it began. */
  seconds(): number {
    return (this.now() - this.started) / 1000;
  }

  /** Units a second since it began; 0 where nothing is known yet. */
  rate(): number {
    const seconds = this.seconds();
    return seconds > 0 ? (this.done - (this.first ?? this.done)) / seconds : 0;
  }

  /** Seconds that the rest takes at this rate; undefined where there is no rate. */
  left(): number | undefined {
    return secondsLeft(this.total - this.done, this.rate());
  }
}

/** Seconds that `rest` units take at `rate` units a second; undefined where that cannot be told. */
export function secondsLeft(rest: number, rate: number): number | undefined {
  const seconds = rest / rate;
  return rate > 0 && Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

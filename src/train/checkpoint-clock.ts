/** When a run's next checkpoint is due: `1000` steps or `10min` after the last; 0 is never. */
export class CheckpointClock {
  private readonly steps: number;
  private readonly milliseconds: number;
  private last: { step: number; time: number };

  /** @param every as --checkpoint-every has it */
  constructor(
    every: string,
    step: number,
    private readonly now: () => number = () => performance.now(),
  ) {
    const amount = Number.parseInt(every, 10) || Number.POSITIVE_INFINITY;
    const minutes = every.endsWith('min');
    this.steps = minutes ? Number.POSITIVE_INFINITY : amount;
    this.milliseconds = minutes ? amount * 60_000 : Number.POSITIVE_INFINITY;
    this.last = { step, time: now() };
  }

  /** The step of the last one, or where the run was opened. */
  get lastStep(): number {
    return this.last.step;
  }

  /** Is one due after `step` steps? */
  due(step: number): boolean {
    return step - this.last.step >= this.steps || this.now() - this.last.time >= this.milliseconds;
  }

  /** One was written after `step` steps. */
  written(step: number): void {
    this.last = { step, time: this.now() };
  }
}

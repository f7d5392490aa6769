import { NotTaken } from '../http/json-body.js';

/** Takes turns: one at a time, in the order in which they came; whoever waits is told how many come first. */
export class Turns {
  /** The first has its turn. */
  private readonly line: Turn[] = [];

  /** @param most turns that are taken or waited for at a time */
  constructor(private readonly most: number) {}

  /** Those that are taken or waited for. */
  get length(): number {
    return this.line.length;
  }

  /**
   * Goes to the end of the line. Whoever is given a turn calls its `leave` in the end.
   *
   * @throws NotTaken where the line is full
   */
  enter(): Turn {
    if (this.line.length >= this.most)
      throw new NotTaken(503, `${this.most} requests wait for the model already; try again in a moment.`);
    const turn = new Turn((leaving) => this.remove(leaving));
    this.line.push(turn);
    turn.moveTo(this.line.length - 1);
    return turn;
  }

  private remove(leaving: Turn): void {
    const at = this.line.indexOf(leaving);
    if (at === -1) return;
    this.line.splice(at, 1);
    for (const [ahead, turn] of this.line.entries()) if (ahead >= at) turn.moveTo(ahead);
  }
}

/** A place in the line. */
export class Turn {
  private ahead = 0;
  private moved: (ahead: number) => void = () => {};

  constructor(private readonly remove: (turn: Turn) => void) {}

  /**
   * Waits until nobody comes first any more.
   *
   * @param told told how many come first, at once and whenever these are fewer
   * @param gone aborted where nobody waits any more
   * @returns whether it is this one's turn
   */
  begins(told: (ahead: number) => void, gone: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (begun: boolean) => {
        this.moved = () => {};
        gone.removeEventListener('abort', leave);
        resolve(begun);
      };
      const leave = () => settle(false);
      this.moved = (ahead) => {
        if (ahead === 0) settle(true);
        else told(ahead);
      };
      gone.addEventListener('abort', leave);
      if (gone.aborted) leave();
      else this.moved(this.ahead);
    });
  }

  leave(): void {
    this.remove(this);
  }

  /** For Turns. */
  moveTo(ahead: number): void {
    this.ahead = ahead;
    this.moved(ahead);
  }
}

import { NotTaken } from '../http/json-body.js';

/** A queue: one request at a time, in order of arrival; those waiting are told how many are ahead. */
export class Turns {
  /** The first is active. */
  private readonly line: Turn[] = [];

  /** @param most max number of active and waiting requests */
  constructor(private readonly most: number) {}

  /** The active and waiting requests. */
  get length(): number {
    return this.line.length;
  }

  /**
   * Joins the queue. The caller must call `leave` on the result in the end.
   *
   * @throws NotTaken if the queue is full
   */
  enter(): Turn {
    if (this.line.length >= this.most)
      throw new NotTaken(503, `${this.most} requests are already waiting for the model; try again in a moment.`);
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

/** A place in the queue. */
export class Turn {
  private ahead = 0;
  private moved: (ahead: number) => void = () => {};

  constructor(private readonly remove: (turn: Turn) => void) {}

  /**
   * Waits until this request is first.
   *
   * @param told called with the number of requests ahead, at once and whenever it decreases
   * @param gone aborted when nobody waits any more
   * @returns whether its turn has come
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

  /** Called by Turns. */
  moveTo(ahead: number): void {
    this.ahead = ahead;
    this.moved(ahead);
  }
}

import { createHash } from 'node:crypto';
import type { Markup } from '../report/markup.js';
import { curvesOf, liveFragment } from './fragment.js';
import type { WatchedRuns } from './watched-runs.js';

/** What is shown is drawn anew after so long at the earliest (milliseconds), */
const FRESH = 1000;
/** or after so many times as long as it took to draw: however many runs there are, most of the time is left to them. */
const TIMES = 5;

/** The part of the page that changes, as it stood at one time. */
export interface View {
  readonly html: string;
  /** Another text whenever `html` is another. */
  readonly tag: string;
}

/** Draws what is watched when it is asked for, once for all who ask at about the same time. */
export class LiveView {
  private view: Promise<View> | undefined;
  private staleAt = 0;
  private curves: { version: number; drawn: Markup | null } | undefined;

  constructor(
    private readonly runs: WatchedRuns,
    private readonly root: string,
    private readonly fresh = FRESH,
  ) {}

  current(): Promise<View> {
    if (this.view === undefined || performance.now() >= this.staleAt) {
      // Nobody draws beside the one who is drawing.
      this.staleAt = Number.POSITIVE_INFINITY;
      const began = performance.now();
      this.view = this.draw().finally(() => {
        const ended = performance.now();
        this.staleAt = ended + Math.max(this.fresh, TIMES * (ended - began));
      });
    }
    return this.view;
  }

  private async draw(): Promise<View> {
    const seen = await this.runs.look();
    if (this.curves?.version !== seen.version) {
      this.curves = { version: seen.version, drawn: curvesOf(seen.runs, this.root) };
    }
    const html = liveFragment(seen, this.root, this.curves.drawn).text;
    return { html, tag: `"${createHash('sha256').update(html).digest('hex').slice(0, 32)}"` };
  }
}

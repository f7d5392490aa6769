import type { OpeningEvent, QueuedEvent, ReadingEvent } from '../steering-api.js';
import { el, refill } from './dom.js';

/** A computation of which only the latest result is wanted: a new one cancels the previous. */
export class LatestRun {
  /** A sentence about its progress. */
  readonly state = el('p', { class: 'state', role: 'status' });
  readonly cancelButton: HTMLButtonElement;
  private running: AbortController | null = null;

  /** @param cancelled called after the button has cancelled something */
  constructor(cancelled: () => void = () => {}) {
    const cancel = () => {
      this.cancel('Cancelled.');
      cancelled();
    };
    this.cancelButton = el('button', { type: 'button', hidden: true, onclick: cancel }, 'Cancel');
  }

  get active(): boolean {
    return this.running !== null;
  }

  say(sentence: string): void {
    refill(this.state, sentence);
  }

  /** Reports the events that every run begins with. */
  sayBeginning({ kind, ...more }: QueuedEvent | OpeningEvent | ReadingEvent): void {
    if ('says' in more) this.say(more.says);
    else this.say(kind === 'opening' ? 'Opening the model' : 'Reading the text');
  }

  /** @param failed called with the error, unless the run was cancelled meanwhile */
  async run(work: (signal: AbortSignal) => Promise<void>, failed: (error: unknown) => void): Promise<void> {
    this.stop();
    const own = new AbortController();
    this.running = own;
    this.cancelButton.hidden = false;
    try {
      await work(own.signal);
    } catch (error) {
      if (own.signal.aborted) return;
      this.say('');
      failed(error);
    } finally {
      if (this.running === own) this.stop();
    }
  }

  /** Cancels the current run, and shows that. */
  cancel(sentence: string): void {
    if (this.running) this.say(sentence);
    this.stop();
  }

  private stop(): void {
    const { running } = this;
    this.running = null;
    running?.abort();
    this.cancelButton.hidden = true;
  }
}

import type { OpeningEvent, QueuedEvent, ReadingEvent } from '../steering-api.js';
import { el, refill } from './dom.js';

/** What the model computes for a part of the page, of which only the latest is wanted: another one cancels it. */
export class LatestRun {
  /** A sentence about how far it is. */
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

  /** Says what every run begins with. */
  sayBeginning({ kind, ...more }: QueuedEvent | OpeningEvent | ReadingEvent): void {
    if ('says' in more) this.say(more.says);
    else this.say(kind === 'opening' ? 'Opening the model' : 'Reading the text');
  }

  /** @param failed told of what went wrong, unless it was cancelled by then */
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

  /** Cancels what runs, and says so. */
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

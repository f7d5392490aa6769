import { Refusal } from '../errors/refusal.js';
import { Audience } from './audience.js';
import type { ModelSettings } from './explored-model.js';
import type { ExploredFolder } from './explorer.js';
import { ModelThread } from './model-thread.js';
import type { EventsOf, Steering } from './site.js';
import type { Both, FailedEvent, SteerEvent, SteeredEnding, SteerRequest } from './steering-api.js';
import { Turns } from './turns.js';

/** Requests that are computed or wait, at most. */
const MOST_WAITING = 32;
/** Milliseconds without a request after which the model is closed. */
const IDLE = 5 * 60_000;

/** What the thread is asked for. */
export interface SteerJob {
  readonly request: SteerRequest;
  /** Of its Audience. */
  readonly memory: SharedArrayBuffer;
}

/**
 * Steers texts in a thread of its own, one after another; the model opens with the first, and closes when nobody has
 * steered for a while. What nobody reads any more is not computed.
 */
export class ThreadedSteering implements Steering {
  private readonly turns = new Turns(MOST_WAITING);
  private readonly thread: ModelThread<SteerJob, Both<SteeredEnding> | null, SteerEvent>;
  private heard: (event: SteerEvent) => void = () => {};

  constructor(explorer: ExploredFolder, settings: Omit<ModelSettings, 'folder' | 'record'>, idle: number = IDLE) {
    const told = (event: SteerEvent) => this.heard(event);
    this.thread = new ModelThread('steer-worker.js', explorer, settings, { idle, told });
  }

  /** Is the model open, or does it open? */
  get model(): 'closed' | 'opening' | 'ready' {
    return this.thread.model;
  }

  /** Requests that are computed or wait. */
  get waiting(): number {
    return this.turns.length;
  }

  steer(request: SteerRequest): EventsOf<SteerEvent> {
    const turn = this.turns.enter();
    return async (tell, gone) => {
      try {
        const waits = (ahead: number) => void tell({ kind: 'queued', ahead, says: inLine(ahead) });
        if (await turn.begins(waits, gone)) await this.run(request, tell, gone);
      } finally {
        turn.leave();
      }
    };
  }

  /** Ends the thread, after what it computes. */
  close(): Promise<void> {
    return this.thread.close();
  }

  private async run(
    request: SteerRequest,
    tell: (event: SteerEvent) => Promise<void>,
    gone: AbortSignal,
  ): Promise<void> {
    const audience = new Audience();
    const leave = () => audience.leaves();
    gone.addEventListener('abort', leave);
    this.heard = (event) => {
      const read = tell(event);
      if (event.kind === 'text') read.then(() => audience.reads());
    };
    try {
      if (this.thread.model === 'closed') await tell({ kind: 'opening' });
      const endings = await this.thread.ask({ request, memory: audience.memory });
      if (endings) await tell({ kind: 'ended', ...endings });
    } catch (error) {
      await tell(failed(error));
    } finally {
      gone.removeEventListener('abort', leave);
      this.heard = () => {};
    }
  }
}

const inLine = (ahead: number) =>
  `Waiting for the model: ${ahead === 1 ? '1 other request comes' : `${ahead} other requests come`} first.`;

/** What is told of an error; of what nobody expected, nothing. */
function failed(error: unknown): FailedEvent {
  if (error instanceof Refusal) return { kind: 'failed', error: error.message, remedy: error.remedy ?? null };
  return { kind: 'failed', error: 'This could not be computed.', remedy: null };
}

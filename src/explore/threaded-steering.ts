import { Refusal } from '../errors/refusal.js';
import type { AttributionNews, FoundEffects } from './attributed-text.js';
import { Audience } from './audience.js';
import type { ModelSettings } from './explored-model.js';
import { type ExploredFolder, featureInWords } from './explorer.js';
import { ModelThread } from './model-thread.js';
import type { EventsOf, Steering } from './site.js';
import type {
  AttributeEvent,
  AttributeRequest,
  Both,
  FailedEvent,
  SteerEvent,
  SteeredEnding,
  SteerRequest,
} from './steering-api.js';
import { Turns } from './turns.js';

/** Max requests running or waiting. */
const MOST_WAITING = 32;
/** Idle milliseconds after which the model is closed. */
const IDLE = 5 * 60_000;

/** Requests to the thread; `memory` belongs to its Audience. */
export type ModelJob = { readonly memory: SharedArrayBuffer } & (
  | { readonly kind: 'steer'; readonly request: SteerRequest }
  | { readonly kind: 'attribute'; readonly request: AttributeRequest }
);
/** Messages sent before the reply. */
export type ModelNews = SteerEvent | AttributionNews;
type ModelAnswer = Both<SteeredEnding> | FoundEffects | null;
type ModelEvent = SteerEvent | AttributeEvent;

/**
 * Steers texts and attributes logits in a separate thread, one request after another; the model opens with the first,
 * and closes after a while without requests. Computation stops when nobody reads the results.
 */
export class ThreadedSteering implements Steering {
  private readonly turns = new Turns(MOST_WAITING);
  private readonly thread: ModelThread<ModelJob, ModelAnswer, ModelNews>;
  private heard: (news: ModelNews) => void = () => {};

  constructor(
    private readonly explorer: ExploredFolder,
    settings: Omit<ModelSettings, 'folder' | 'record'>,
    idle: number = IDLE,
  ) {
    const told = (news: ModelNews) => this.heard(news);
    this.thread = new ModelThread('steer-worker.js', explorer, settings, { idle, told });
  }

  /** Is the model open, or opening? */
  get model(): 'closed' | 'opening' | 'ready' {
    return this.thread.model;
  }

  /** Number of requests running or waiting. */
  get waiting(): number {
    return this.turns.length;
  }

  // A job of one kind sends events of that kind.

  steer(request: SteerRequest): EventsOf<SteerEvent> {
    return this.inTurn({ kind: 'steer', request }) as EventsOf<SteerEvent>;
  }

  attribute(request: AttributeRequest): EventsOf<AttributeEvent> {
    return this.inTurn({ kind: 'attribute', request }) as EventsOf<AttributeEvent>;
  }

  /** Ends the thread, after its current computation. */
  close(): Promise<void> {
    return this.thread.close();
  }

  private inTurn(job: Unheard<ModelJob>): EventsOf<ModelEvent> {
    const turn = this.turns.enter();
    return async (tell, gone) => {
      try {
        const waits = (ahead: number) => void tell({ kind: 'queued', ahead, says: inLine(ahead) });
        if (await turn.begins(waits, gone)) await this.run(job, tell, gone);
      } finally {
        turn.leave();
      }
    };
  }

  private async run(
    job: Unheard<ModelJob>,
    tell: (event: ModelEvent) => Promise<void>,
    gone: AbortSignal,
  ): Promise<void> {
    const audience = new Audience();
    const leave = () => audience.leaves();
    gone.addEventListener('abort', leave);
    if (gone.aborted) leave();
    this.heard = (news) => {
      const read = tell(news.kind === 'next' ? this.nextInWords(news) : news);
      if (news.kind === 'text') read.then(() => audience.reads());
    };
    try {
      if (this.thread.model === 'closed') await tell({ kind: 'opening' });
      const answer = await this.thread.ask({ ...job, memory: audience.memory });
      if (answer === null) return;
      await tell('features' in answer ? this.effectsInWords(answer, job.request.sae) : { kind: 'ended', ...answer });
    } catch (error) {
      await tell(failed(error));
    } finally {
      gone.removeEventListener('abort', leave);
      this.heard = () => {};
    }
  }

  private nextInWords({ likely, ...news }: Extract<AttributionNews, { kind: 'next' }>): AttributeEvent {
    const { vocabulary } = this.explorer;
    return { ...news, likely: likely.map((one) => ({ ...one, token: vocabulary.text(one.id) })) };
  }

  private effectsInWords({ features, ...more }: FoundEffects, sae: string): AttributeEvent {
    const explored = this.explorer.saes.get(sae)!;
    const inWords = features.map(({ id, ...one }) => ({
      ...one,
      at: this.explorer.vocabulary.text(id),
      ...featureInWords(explored, one.feature),
    }));
    return { kind: 'attributed', features: inWords, ...more };
  }
}

type Unheard<T> = T extends unknown ? Omit<T, 'memory'> : never;

const inLine = (ahead: number) =>
  `Waiting for the model: ${ahead === 1 ? '1 other request is' : `${ahead} other requests are`} ahead.`;

/** The event for an error; unexpected errors are not disclosed. */
function failed(error: unknown): FailedEvent {
  if (error instanceof Refusal) return { kind: 'failed', error: error.message, remedy: error.remedy ?? null };
  return { kind: 'failed', error: 'This could not be computed.', remedy: null };
}

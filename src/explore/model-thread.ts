import { type RefusedReply, refusalFrom } from '../errors/refusal.js';
import { Thread } from '../progress/thread.js';
import type { ModelSettings } from './explored-model.js';
import type { ExploredFolder } from './explorer.js';
import type { ModelRequest } from './model-worker.js';

type Reply<Answer, Told> =
  | { readonly kind: 'opened' }
  | { readonly kind: 'told'; readonly told: Told }
  | { readonly kind: 'answer'; readonly answer: Answer }
  | RefusedReply;

interface ModelThreadOptions<Told> {
  /** Idle milliseconds after which the thread ends; undefined: never. */
  readonly idle?: number;
  /** Receives messages sent before a reply. */
  readonly told?: (told: Told) => void;
}

/** A thread with a model, opened with the first request. Handles one request at a time. */
export class ModelThread<Asked, Answer, Told = never> {
  private thread: Thread<ModelRequest<Asked>, Reply<Answer, Told>> | undefined;
  private began = 0;
  private opened = false;
  private ending: Promise<void> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;

  /** @param script of the thread, in this directory */
  constructor(
    private readonly script: string,
    private readonly explorer: ExploredFolder,
    private readonly settings: Omit<ModelSettings, 'folder' | 'record'>,
    private readonly options: ModelThreadOptions<Told> = {},
  ) {}

  get model(): 'closed' | 'opening' | 'ready' {
    return this.opened ? 'ready' : this.thread ? 'opening' : 'closed';
  }

  /** Seconds that the model has been opening, or 0. */
  get seconds(): number {
    return this.model === 'opening' ? (performance.now() - this.began) / 1000 : 0;
  }

  /** @throws Refusal if the model cannot be opened, or the request fails */
  async ask(asked: Asked): Promise<Answer> {
    clearTimeout(this.timer);
    // Two models are never open at a time.
    await this.ending;
    this.thread ??= this.start();
    try {
      this.thread.ask({ kind: 'asked', asked });
      const reply = await this.thread.reply();
      if (reply.kind === 'answer') return reply.answer;
      throw reply.kind === 'refused' ? refusalFrom(reply) : new Error('unexpected reply of the thread');
    } catch (error) {
      // A model that failed to open is opened anew for the next request: the cause may have been fixed.
      if (!this.opened || this.thread.failure) await this.close();
      throw error;
    } finally {
      const { idle } = this.options;
      if (idle !== undefined) this.timer = setTimeout(() => this.close(), idle).unref();
    }
  }

  /** Ends the thread, after its current computation; it restarts with the next request. */
  close(): Promise<void> {
    clearTimeout(this.timer);
    const { thread } = this;
    [this.thread, this.opened] = [undefined, false];
    thread?.ask({ kind: 'close' });
    this.ending = Promise.all([this.ending, thread?.ended]).then(() => {});
    return this.ending;
  }

  private start(): Thread<ModelRequest<Asked>, Reply<Answer, Told>> {
    const { directory: folder, record, saes } = this.explorer;
    const shown = record.saes.filter((sae) => saes.has(sae.folder));
    const data: ModelSettings = { ...this.settings, folder, record: { ...record, saes: shown } };
    this.began = performance.now();
    return new Thread(new URL(this.script, import.meta.url), {
      ...{ name: "the model's thread", data },
      aside: (reply) => {
        if (reply.kind === 'opened') this.opened = true;
        if (reply.kind === 'told') this.options.told?.(reply.told);
        return reply.kind === 'opened' || reply.kind === 'told';
      },
    });
  }
}

import { type RefusedReply, refusalFrom } from '../errors/refusal.js';
import { NotTaken } from '../http/json-body.js';
import { Thread } from '../progress/thread.js';
import type { ExploreStatus, TextReply, TextRequest } from './api.js';
import type { ExploredFolder } from './explorer.js';
import type { TextTrial } from './site.js';
import type { TrialSettings, TriedText } from './tried-model.js';

/** Texts that wait, at most. */
const MOST_WAITING = 16;

/** What the thread is asked for: a text at a time. */
export type TrialRequest = TextRequest | 'close';
/** What it answers; `opened` answers nothing. */
export type TrialReply =
  | { readonly kind: 'opened' }
  | { readonly kind: 'tried'; readonly tried: TriedText }
  | RefusedReply;

/** Tries texts in a thread of its own, one after another; the model opens with the first. */
export class ThreadedTrial implements TextTrial {
  private thread: Thread<TrialRequest, TrialReply> | undefined;
  private began = 0;
  private opened = false;
  private waiting = 0;
  /** The text that was asked for last: the next one begins after it. */
  private before: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly explorer: ExploredFolder,
    private readonly settings: Omit<TrialSettings, 'folder' | 'record'>,
  ) {}

  status(): ExploreStatus {
    const opening = this.thread !== undefined && !this.opened;
    return {
      model: this.opened ? 'ready' : opening ? 'opening' : 'closed',
      waiting: this.waiting,
      seconds: opening ? (performance.now() - this.began) / 1000 : 0,
    };
  }

  async tryText(request: TextRequest): Promise<TextReply> {
    if (this.waiting >= MOST_WAITING) throw new NotTaken(503, 'Too many texts wait already; try again in a moment.');
    this.waiting++;
    const turn = this.before.then(() => this.ask(request));
    this.before = turn.catch(() => {});
    try {
      return this.inWords(await turn);
    } finally {
      this.waiting--;
    }
  }

  /** Ends the thread, after the text that it computes. */
  async close(): Promise<void> {
    this.thread?.ask('close');
    await this.thread?.ended;
  }

  private async ask(request: TextRequest): Promise<TriedText> {
    this.thread ??= this.start();
    try {
      this.thread.ask(request);
      const reply = await this.thread.reply();
      if (reply.kind === 'tried') return reply.tried;
      throw reply.kind === 'refused' ? refusalFrom(reply) : new Error('the thread answered what nobody asked');
    } catch (error) {
      // What could not be opened is opened anew for the next text: somebody may have put it right.
      if (!this.opened || this.thread.failure) await this.discard();
      throw error;
    }
  }

  private start(): Thread<TrialRequest, TrialReply> {
    const { directory: folder, record, saes } = this.explorer;
    const shown = record.saes.filter((sae) => saes.has(sae.folder));
    const data: TrialSettings = { ...this.settings, folder, record: { ...record, saes: shown } };
    this.began = performance.now();
    return new Thread(new URL('try-text-worker.js', import.meta.url), {
      ...{ name: "the model's thread", data },
      aside: (reply: TrialReply) => {
        if (reply.kind === 'opened') this.opened = true;
        return reply.kind === 'opened';
      },
    });
  }

  private async discard(): Promise<void> {
    const { thread } = this;
    [this.thread, this.opened] = [undefined, false];
    thread?.ask('close');
    await thread?.ended;
  }

  private inWords({ tokens, counted, cut, saes, heat }: TriedText): TextReply {
    const { vocabulary, saes: explored } = this.explorer;
    return {
      tokens: tokens.map((token) => vocabulary.text(token)),
      ...{ counted, cut },
      saes: saes.map(({ sae, long, top }) => {
        const { lists, labels } = explored.get(sae)!;
        const inWords = ([feature, value]: readonly [number, number]) => ({
          feature,
          value: Number(value.toPrecision(6)),
          label: labels.byFeature.get(feature)?.label ?? null,
          tokens: lists.texts('peakTokens', feature, 3),
        });
        return { sae, long, top: top.map((features) => features.map(inWords)) };
      }),
      heat: heat?.map((value) => Number(value.toPrecision(6))) ?? null,
    };
  }
}

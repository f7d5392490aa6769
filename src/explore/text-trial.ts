import { NotTaken } from '../http/json-body.js';
import type { ExploreStatus, TextReply, TextRequest } from './api.js';
import type { ModelSettings } from './explored-model.js';
import { type ExploredFolder, featureInWords } from './explorer.js';
import { ModelThread } from './model-thread.js';
import type { TextTrial } from './site.js';
import type { TriedText } from './tried-model.js';

/** Max number of waiting texts. */
const MOST_WAITING = 16;

/** Runs texts in a separate thread, one after another; the model opens with the first. */
export class ThreadedTrial implements TextTrial {
  private readonly thread: ModelThread<TextRequest, TriedText>;
  private waiting = 0;
  /** The last requested text: the next one starts after it. */
  private before: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly explorer: ExploredFolder,
    settings: Omit<ModelSettings, 'folder' | 'record'>,
  ) {
    this.thread = new ModelThread('try-text-worker.js', explorer, settings);
  }

  status(): ExploreStatus {
    const { model, seconds } = this.thread;
    return { model, seconds, waiting: this.waiting };
  }

  async tryText(request: TextRequest): Promise<TextReply> {
    if (this.waiting >= MOST_WAITING) throw new NotTaken(503, 'Too many texts are waiting; try again in a moment.');
    this.waiting++;
    const turn = this.before.then(() => this.thread.ask(request));
    this.before = turn.catch(() => {});
    try {
      return this.inWords(await turn);
    } finally {
      this.waiting--;
    }
  }

  /** Ends the thread, after its current text. */
  close(): Promise<void> {
    return this.thread.close();
  }

  private inWords({ tokens, counted, cut, saes, heat }: TriedText): TextReply {
    const { vocabulary, saes: explored } = this.explorer;
    return {
      tokens: tokens.map((token) => vocabulary.text(token)),
      ...{ counted, cut },
      saes: saes.map(({ sae, long, top }) => {
        const own = explored.get(sae)!;
        const inWords = ([feature, value]: readonly [number, number]) => ({
          feature,
          value: Number(value.toPrecision(6)),
          ...featureInWords(own, feature),
        });
        return { sae, long, top: top.map((features) => features.map(inWords)) };
      }),
      heat: heat?.map((value) => Number(value.toPrecision(6))) ?? null,
    };
  }
}

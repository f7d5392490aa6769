import type { Both, SteerEvent, SteeredEnding, SteerRequest } from '../steering-api.js';
import { Unanswered } from './answers.js';
import { changeText } from './change-row.js';
import { el, refill } from './dom.js';
import type { PageContext } from './page-context.js';
import { problemText } from './trouble.js';

const SIDES = ['unsteered', 'steered'] as const;

/** A text continued without changes and with them, side by side, as it comes. */
export class Continuations {
  readonly element: HTMLElement;
  /** A sentence about how far it is. */
  readonly state = el('p', { class: 'state', role: 'status' });
  private readonly texts = el('div', { class: 'pair' });
  readonly cancelButton = el('button', { type: 'button', onclick: () => this.cancel() }, 'Cancel');
  private running: AbortController | null = null;
  private shown: SteerRequest | null = null;
  private tokens = 0;

  constructor(private readonly context: PageContext) {
    this.cancelButton.hidden = true;
    this.element = el('div', { class: 'continuations' }, this.texts);
  }

  /** Marks what is shown where this request would give something else. */
  compare(request: SteerRequest): void {
    const differs = this.shown !== null && JSON.stringify(this.shown) !== JSON.stringify(request);
    this.texts.classList.toggle('outdated', differs);
    if (differs && !this.running) this.say('Shown as it was before the last change: press Steer.');
  }

  /** Says a sentence instead of how far something is. */
  say(sentence: string): void {
    refill(this.state, sentence);
  }

  /** What was asked for before is cancelled. */
  async run(request: SteerRequest): Promise<void> {
    this.stop();
    const own = new AbortController();
    [this.running, this.shown, this.tokens] = [own, request, 0];
    this.cancelButton.hidden = false;
    const grown = this.drawTexts(request);
    const ended: Both<SteeredEnding>[] = [];
    const take = (event: SteerEvent) => {
      if (this.running !== own) return;
      if (event.kind === 'failed') throw new Unanswered(event.error, event.remedy);
      if (event.kind === 'ended') ended.push(event);
      else this.take(event, request, grown);
    };
    try {
      await this.context.source.steer(request, take, own.signal);
      if (this.running !== own) return;
      const [endings] = ended;
      if (endings === undefined) throw new Unanswered('The server of this page has stopped answering.');
      this.say(endingText(endings, this.tokens));
      this.context.announce('Both texts have ended.');
    } catch (error) {
      if (this.running !== own) return;
      this.say('');
      refill(
        this.texts,
        problemText(error, () => this.run(request)),
      );
      this.shown = null;
    } finally {
      if (this.running === own) this.stop();
    }
  }

  /** Cancels what runs; what has come stays. */
  cancel(): void {
    if (this.running) this.say(`Cancelled after ${tokensText(this.tokens)}.`);
    this.stop();
  }

  /** Cancels what runs, and shows nothing. */
  clear(): void {
    this.stop();
    this.shown = null;
    this.say('');
    refill(this.texts);
  }

  private stop(): void {
    const { running } = this;
    this.running = null;
    running?.abort();
    this.cancelButton.hidden = true;
    this.element.removeAttribute('aria-busy');
  }

  private take(
    event: Exclude<SteerEvent, { kind: 'failed' | 'ended' }>,
    request: SteerRequest,
    grown: Both<HTMLElement>,
  ): void {
    if (event.kind === 'queued') this.say(event.says);
    else if (event.kind === 'opening') this.say('Opening the model');
    else if (event.kind === 'reading') this.say('Reading the text');
    else {
      this.tokens = event.tokens;
      this.say(`${event.tokens} of ${tokensText(request.tokens)}`);
      for (const side of SIDES) grown[side].append(event[side]);
    }
  }

  /** @returns what the texts grow in */
  private drawTexts({ text, changes }: SteerRequest): Both<HTMLElement> {
    this.element.setAttribute('aria-busy', 'true');
    this.texts.classList.remove('outdated');
    const grown = { unsteered: el('span', { class: 'grown' }), steered: el('span', { class: 'grown' }) };
    const words = changes.map(changeText).join(', ');
    refill(
      this.texts,
      SIDES.map((side) =>
        el(
          'section',
          {},
          el('h3', {}, side === 'steered' ? 'Steered' : 'Unsteered', side === 'steered' && span('range', words)),
          el('p', { class: 'continued' }, span('quiet', text), grown[side]),
        ),
      ),
    );
    return grown;
  }
}

const span = (name: string, text: string) => el('span', { class: name }, text);

const tokensText = (tokens: number) => (tokens === 1 ? '1 token' : `${tokens} tokens`);

function endingText(endings: Both<SteeredEnding>, tokens: number): string {
  const ended = SIDES.filter((side) => endings[side] === 'end');
  if (ended.length === 0) return tokensText(tokens);
  return `${tokensText(tokens)}; the ${ended.join(' and the ')} text ended by itself`;
}

import type { Both, SteerEvent, SteeredEnding, SteerRequest } from '../steering-api.js';
import { Unanswered } from './answers.js';
import { changeText } from './change-row.js';
import { el, refill } from './dom.js';
import type { LatestRun } from './latest-run.js';
import type { PageContext } from './page-context.js';
import { problemText } from './trouble.js';

const SIDES = ['unsteered', 'steered'] as const;

/** A text continued with and without changes, side by side, as it is generated. */
export class Continuations {
  readonly element: HTMLElement;
  private readonly texts = el('div', { class: 'pair' });
  private shown: SteerRequest | null = null;

  constructor(
    private readonly context: PageContext,
    private readonly latest: LatestRun,
  ) {
    this.element = el('div', { class: 'continuations' }, this.texts);
  }

  /** Marks the shown text as outdated if this request would give something else. */
  compare(request: SteerRequest): void {
    const differs = this.shown !== null && JSON.stringify(this.shown) !== JSON.stringify(request);
    this.texts.classList.toggle('outdated', differs);
    if (differs && !this.latest.active) this.latest.say('Outdated since the last change: press Steer.');
  }

  /** Cancels the previous request. */
  run(request: SteerRequest): Promise<void> {
    this.shown = request;
    const grown = this.drawTexts(request);
    return this.latest.run(
      (signal) => this.steer(request, grown, signal),
      (error) => {
        this.shown = null;
        refill(
          this.texts,
          problemText(error, () => this.run(request)),
        );
      },
    );
  }

  /** Cancels what is running, and clears the view. */
  clear(): void {
    this.latest.cancel('');
    this.latest.say('');
    this.shown = null;
    refill(this.texts);
  }

  private async steer(request: SteerRequest, grown: Both<HTMLElement>, signal: AbortSignal): Promise<void> {
    const { latest, context } = this;
    let tokens = 0;
    const ended: Both<SteeredEnding>[] = [];
    const take = (event: SteerEvent) => {
      if (event.kind === 'failed') throw new Unanswered(event.error, event.remedy);
      if (event.kind === 'ended') ended.push(event);
      else if (event.kind === 'text') {
        tokens = event.tokens;
        latest.say(`${tokens} of ${tokensText(request.tokens)}`);
        for (const side of SIDES) grown[side].append(event[side]);
      } else latest.sayBeginning(event);
    };
    await context.source.steer(request, take, signal);
    const [endings] = ended;
    if (endings === undefined) throw new Unanswered('The server of this page has stopped responding.');
    latest.say(endingText(endings, tokens));
    context.announce('Both texts are complete.');
  }

  /** @returns the elements that the texts are appended to */
  private drawTexts({ text, changes }: SteerRequest): Both<HTMLElement> {
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

import type {
  AttributedEvent,
  AttributedFeature,
  AttributeEvent,
  AttributeRequest,
  NextEvent,
} from '../steering-api.js';
import { Unanswered } from './answers.js';
import { el, refill } from './dom.js';
import { tokenChip } from './effects.js';
import { activationText, integerText, shareText, signedText } from './format.js';
import { LatestRun } from './latest-run.js';
import type { PageContext } from './page-context.js';
import { addressOf, type TextPlace } from './route.js';
import { problemText } from './trouble.js';

/** Definition of an effect. */
const EFFECTS: Readonly<Record<AttributedEvent['method'], string>> = {
  gradient: 'activation × gradient, f · ∂logit/∂f',
  ablation: 'decrease of the logit when only this feature is set to 0 at that token',
};

/** The next-token predictions at a chosen token, and which features contributed to one of them. */
export class AttributionView {
  readonly element = el('section', { class: 'attribution' });
  private readonly latest: LatestRun;
  private place: TextPlace | null = null;
  private readonly likely = el('p', { class: 'likely' });
  private readonly table = el('div', {});
  private asked = '';

  constructor(private readonly context: PageContext) {
    // It can be requested again.
    this.latest = new LatestRun(() => this.place && context.go({ ...this.place, next: null }, { replace: true }));
  }

  /** Follows the address. */
  update(place: TextPlace): void {
    this.place = place;
    const { text, sae, at, next } = place;
    const asked = JSON.stringify([text, sae, at, next]);
    if (asked === this.asked) return;
    this.asked = asked;
    this.latest.cancel('');
    this.latest.say('');
    refill(this.likely);
    refill(this.table);
    const title = el('h2', {}, 'Next token');
    if (at === null || next === null) {
      const ask = () => this.context.go({ ...this.place!, next: 'likeliest' }, { replace: true });
      const button = el('button', { type: 'button', onclick: ask }, 'What comes next, and why');
      refill(this.element, title, button);
      return;
    }
    refill(this.element, title, this.latest.cancelButton, this.latest.state, this.likely, this.table);
    this.run(place, { text, sae, at, token: next === 'likeliest' ? null : next });
  }

  /** Called when hidden: nothing is computed that nobody sees. When shown again, it starts over. */
  leave(): void {
    if (this.latest.active) this.asked = '';
    this.latest.cancel('');
  }

  private run(place: TextPlace, request: AttributeRequest): Promise<void> {
    return this.latest.run(
      (signal) => this.attribute(place, request, signal),
      (error) =>
        refill(
          this.table,
          problemText(error, () => this.run(place, request)),
        ),
    );
  }

  private async attribute(place: TextPlace, request: AttributeRequest, signal: AbortSignal): Promise<void> {
    const { latest, context } = this;
    let whole = false;
    const take = (event: AttributeEvent) => {
      if (event.kind === 'failed') throw new Unanswered(event.error, event.remedy);
      if (event.kind === 'next') this.drawLikely(place, event);
      else if (event.kind === 'ablated') latest.say(`${event.done} of ${event.of} activations ablated`);
      else if (event.kind === 'attributed') {
        whole = true;
        latest.say('');
        refill(this.table, this.effects(place, event));
      } else latest.sayBeginning(event);
    };
    await context.source.attribute(request, take, signal);
    if (!whole) throw new Unanswered('The server of this page has stopped responding.');
    context.announce('The features are listed.');
  }

  private drawLikely(place: TextPlace, { likely, token: chosen, logit }: NextEvent): void {
    const links = likely.map(({ id, token, probability }) => [
      el(
        'a',
        {
          href: addressOf({ ...place, next: id }),
          'aria-current': id === chosen && 'true',
          title: `Which features make the model predict it: token ${id}`,
        },
        tokenChip(token),
        el('span', { class: 'quiet' }, shareText(probability)),
      ),
      ' ',
    ]);
    const name = likely.find(({ id }) => id === chosen)?.token ?? '';
    const what = el('span', { class: 'logit' }, 'Logit of ', tokenChip(name), activationText(logit));
    refill(this.likely, links, what);
  }

  private effects(place: TextPlace, event: AttributedEvent): HTMLElement[] {
    const { features, method } = event;
    if (features.length === 0) return [el('p', { class: 'none' }, 'No feature fires up to here.')];
    const heads = [
      ['feature', ''],
      ['at', 'token at which it fires'],
      ['f', 'its activation there'],
      ['direct', 'its contribution on the path that skips all blocks above; 0 for earlier tokens'],
      ['effect', EFFECTS[method]],
    ];
    return [
      el(
        'table',
        {},
        el(
          'thead',
          {},
          el(
            'tr',
            {},
            heads.map(([name, title]) => el('th', { scope: 'col', title: title || null }, name)),
          ),
        ),
        el(
          'tbody',
          {},
          features.map((one) => effectRow(place, one)),
        ),
      ),
      el('p', { class: 'none' }, methodText(event)),
    ];
  }
}

function methodText({ method, remark, examined, leftOut }: AttributedEvent): string {
  const activations = `${integerText(examined)} activations`;
  if (method === 'gradient') {
    return `Effects are activation × gradient (f · ∂logit/∂f), computed for all ${activations} up to here.`;
  }
  const exact = `Each of ${activations} was ablated separately, rerunning the model, which is exact.`;
  const rest = leftOut === 0 ? '' : ` ${integerText(leftOut)} weaker activations were skipped.`;
  return `${remark ?? ''} ${exact}${rest}`;
}

function effectRow(place: TextPlace, one: AttributedFeature): HTMLElement {
  const { feature, position, at, activation, direct, effect, label, tokens } = one;
  const href = addressOf({ view: 'feature', sae: place.sae, feature, query: {}, lines: 'aligned' });
  const name = label ?? tokens.map((token) => tokenChip(token));
  const there = { href: addressOf({ ...place, at: position, next: null }), title: `token ${position}` };
  return el(
    'tr',
    {},
    el('th', { scope: 'row' }, el('a', { href }, el('span', { class: 'id' }, feature), ' ', name)),
    el('td', {}, el('a', there, tokenChip(at), ' ', el('span', { class: 'quiet' }, position))),
    [activationText(activation), direct === null ? '–' : signedText(direct), signedText(effect)].map((text) =>
      el('td', { class: 'number' }, text),
    ),
  );
}

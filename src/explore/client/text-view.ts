import { MOST_TRIED_TEXT, type TextReply, type TokenFeature } from '../api.js';
import { AttributionView } from './attribution-view.js';
import { el, refill } from './dom.js';
import { tokenChip } from './effects.js';
import { colouredTokens, heatLegend } from './examples.js';
import { activationText } from './format.js';
import { heatLevel } from './heat.js';
import type { PageContext } from './page-context.js';
import { addressOf, type TextPlace } from './route.js';
import { SteerPanel } from './steer-panel.js';
import { tip } from './tip.js';
import { spokenToken } from './token-text.js';
import { problemText } from './trouble.js';

/** Number of strongest features per token to request. */
const PER_TOKEN = 10;
/** Max features listed for the whole text. */
const MOST_FEATURES = 30;

/** Tokens of a text, and which of them have features. */
type ShownText = Pick<TextReply, 'tokens' | 'counted'>;

/** Features of a user's text: the strongest at each token, and the activations of any of them along the text. */
export class TextView {
  readonly element: HTMLElement;
  private readonly field = el('textarea', {
    ...{ rows: 3, maxlength: MOST_TRIED_TEXT, 'aria-label': 'Text', placeholder: 'A text to run through the model' },
  });
  private readonly run = el('button', { type: 'submit', class: 'primary', title: 'Ctrl+Enter' }, 'Run');
  private readonly result = el('div', { class: 'result' });
  private readonly lists = el('div', { class: 'pair' });
  private readonly steering: SteerPanel;
  private readonly attribution: AttributionView;
  private place: TextPlace;
  private reply: TextReply | null = null;
  private asked = '';
  private turn = 0;

  constructor(
    place: TextPlace,
    private readonly context: PageContext,
  ) {
    this.place = place;
    const send = (event: Event) => {
      event.preventDefault();
      if (this.field.value.trim() === '') return this.field.focus();
      // The same text can be run again: the model may have come back.
      this.asked = '';
      const place: TextPlace = { ...this.place, text: this.field.value, at: null, next: null };
      context.go(place);
      this.update(place);
    };
    const form = el('form', { class: 'try', onsubmit: send }, this.field, this.run);
    this.field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) send(event);
    });
    const title = el('h1', { tabindex: -1 }, 'Run a text');
    this.attribution = new AttributionView(context);
    this.steering = new SteerPanel(place, context, () => this.field.value);
    this.element = el('article', { class: 'text-view' }, title, form, this.result, this.steering.element, this.lists);
  }

  /** Called when another view is shown: running computations are no longer needed. */
  leave(): void {
    this.steering.leave();
    this.attribution.leave();
  }

  /** Follows the address: runs what is new, and shows the rest. */
  async update(place: TextPlace): Promise<void> {
    if (this.place.text !== place.text || this.place.sae !== place.sae) this.forget();
    this.place = place;
    if (document.activeElement !== this.field || this.field.value === '') this.field.value = place.text;
    this.steering.update(place);
    const asked = JSON.stringify([place.sae, place.text, place.feature]);
    if (place.text === '') {
      refill(this.lists);
      return refill(this.result, this.introduction());
    }
    if (asked === this.asked) return this.draw();
    this.asked = asked;
    const turn = ++this.turn;
    this.waits(true);
    try {
      const { sae, text, feature } = place;
      const request = { text, saes: [sae], count: PER_TOKEN, feature: feature === null ? undefined : { sae, feature } };
      const reply = await this.context.source.tryText(request, this.context.told);
      if (turn !== this.turn) return;
      this.reply = reply;
      this.draw();
      this.context.announce(`${reply.tokens.length} tokens`);
    } catch (error) {
      if (turn !== this.turn) return;
      this.asked = '';
      refill(
        this.result,
        problemText(error, () => this.update(this.place)),
      );
    } finally {
      if (turn === this.turn) this.waits(false);
    }
  }

  /** Called for another text or SAE: cancels pending requests and attributions. */
  private forget(): void {
    this.turn++;
    this.asked = '';
    this.reply = null;
    this.attribution.leave();
    this.waits(false);
  }

  private waits(waiting: boolean): void {
    this.run.disabled = waiting;
    this.element.classList.toggle('waiting', waiting);
    if (!waiting) this.context.told(1, '');
  }

  private introduction(): HTMLElement {
    const { model } = this.context.source.index;
    const what = `Runs a text through ${model} and shows the strongest features at each token.`;
    return el('p', { class: 'none introduction' }, what);
  }

  private draw(): void {
    const { reply, place } = this;
    if (!reply) return;
    const found = reply.saes.find(({ sae }) => sae === place.sae);
    const top = found?.top ?? [];
    const counted = reply.counted.map((counts, i) => counts && !found?.long.includes(i));
    const shown: ShownText = { tokens: reply.tokens, counted };
    const heat = reply.heat ?? top.map(([strongest]) => strongest?.value ?? 0);
    const most = Math.max(0, ...heat);
    const heading =
      place.feature === null
        ? 'Coloured by the strongest feature at each token'
        : ['Coloured by feature ', el('a', { href: this.featureHref(place.feature) }, place.feature)];
    const clear = el('a', { class: 'quiet', href: addressOf({ ...place, feature: null }) }, 'Colour by the strongest');
    refill(
      this.result,
      el('p', { class: 'head' }, el('span', {}, heading), heatLegend(most), place.feature !== null && clear),
      this.tokens(shown, heat, most, top),
      reply.cut && el('p', { class: 'none' }, 'The text is longer than a context; only its beginning was used.'),
    );
    const chosen = place.at === null ? undefined : top[place.at];
    // No attribution while nobody can see it.
    if (chosen === undefined) this.attribution.leave();
    else this.attribution.update(place);
    refill(this.lists, chosen === undefined ? this.hint() : this.atToken(shown, chosen, place.at!), this.overall(top));
  }

  private tokens(
    { tokens, counted }: ShownText,
    heat: readonly number[],
    most: number,
    top: readonly (readonly TokenFeature[])[],
  ): HTMLElement {
    const levels = heat.map((f) => heatLevel(f, most));
    const spans = colouredTokens(tokens, levels, 0, tokens.length);
    const strip = el('div', { class: 'strip', role: 'toolbar', 'aria-label': 'Tokens of the text' }, spans);
    const current = this.place.at ?? 0;
    for (const [i, span] of spans.entries()) {
      const label = `${spokenToken(tokens[i]!)}, ${activationText(heat[i] ?? 0)}`;
      span.setAttribute('role', 'button');
      span.setAttribute('aria-label', label);
      span.setAttribute('aria-pressed', String(i === this.place.at));
      span.tabIndex = i === current ? 0 : -1;
      if (!counted[i]) span.classList.add('left-out');
      span.addEventListener('click', () => this.choose(i));
      span.addEventListener('pointerenter', () =>
        tip.show(span, activationText(heat[i] ?? 0), counted[i] ? this.behind(top[i]?.[0]) : 'left out of features'),
      );
      span.addEventListener('pointerleave', () => tip.hide(span));
    }
    strip.addEventListener('keydown', (event) => {
      const i = spans.indexOf(event.target as HTMLElement);
      const to = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: spans.length - 1, Enter: i, ' ': i }[event.key];
      if (i === -1 || to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      if (spans[to]) this.choose(to);
    });
    return strip;
  }

  /** Which feature gives a token its colour. */
  private behind(strongest: TokenFeature | undefined): string {
    if (this.place.feature !== null) return `feature ${this.place.feature}`;
    if (!strongest) return 'no feature fires';
    const { feature, label, tokens } = strongest;
    return `feature ${feature}: ${label ?? tokens.slice(0, 3).join(' ')}`;
  }

  private choose(at: number): void {
    tip.hide();
    const next = at === this.place.at ? this.place.next : null;
    this.context.go({ ...this.place, at, next }, { replace: true });
    this.place = { ...this.place, at, next };
    this.draw();
    this.result.querySelector<HTMLElement>(`.strip [data-i="${at}"]`)?.focus();
  }

  private hint(): HTMLElement {
    return el(
      'section',
      {},
      el('h2', {}, 'At a token'),
      el('p', { class: 'none' }, 'Choose a token to see its features.'),
    );
  }

  private atToken({ tokens, counted }: ShownText, features: readonly TokenFeature[], at: number): HTMLElement {
    const none = counted[at] ? 'No feature fires here.' : 'This token is left out of features.';
    const own = el(
      'section',
      { 'aria-live': 'polite' },
      el('h2', {}, 'At ', tokenChip(tokens[at]!), el('span', { class: 'range' }, `token ${at}`)),
      features.length === 0 ? el('p', { class: 'none' }, none) : this.features(features),
    );
    return el('div', {}, own, this.attribution.element);
  }

  /** The features that are strongest anywhere in the text. */
  private overall(top: readonly (readonly TokenFeature[])[]): HTMLElement {
    const strongest = new Map<number, TokenFeature>();
    for (const one of top.flat()) {
      if (one.value > (strongest.get(one.feature)?.value ?? 0)) strongest.set(one.feature, one);
    }
    const sorted = [...strongest.values()].sort((a, b) => b.value - a.value || a.feature - b.feature);
    return el('section', {}, el('h2', {}, 'Anywhere in the text'), this.features(sorted.slice(0, MOST_FEATURES)));
  }

  private features(features: readonly TokenFeature[]): HTMLElement {
    const most = Math.max(...features.map(({ value }) => value));
    const rows = features.map(({ feature, value, label, tokens }) =>
      el(
        'li',
        { '--share': (value / most).toFixed(4) },
        el(
          'span',
          { class: 'name' },
          el(
            'a',
            { href: this.featureHref(feature) },
            el('span', { class: 'id' }, feature),
            ' ',
            label ?? tokens.slice(0, 4).map((token) => tokenChip(token)),
          ),
        ),
        el(
          'a',
          {
            class: 'versus',
            href: addressOf({ ...this.place, feature }),
            'aria-label': `Colour the text by feature ${feature}`,
            title: 'Colour the text by it',
          },
          '◐',
        ),
        el(
          'button',
          {
            ...{ type: 'button', class: 'versus', 'aria-label': `Steer with feature ${feature}` },
            ...{ title: 'Steer with it', onclick: () => this.steering.add(feature) },
          },
          '+',
        ),
        el('span', { class: 'number' }, activationText(value)),
      ),
    );
    return el('ol', { class: 'bars related' }, rows);
  }

  private featureHref(feature: number): string {
    return addressOf({ view: 'feature', sae: this.place.sae, feature, query: {}, lines: 'aligned' });
  }
}

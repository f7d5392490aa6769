import type { ExploreIndex } from '../api.js';
import { el, refill } from './dom.js';
import type { PageContext } from './page-context.js';
import { addressOf, type Place, untried } from './route.js';

/** The top bar: the current place, links to others, and progress. */
export class TopBar {
  readonly element: HTMLElement;
  private readonly saes: HTMLSelectElement;
  private readonly links = el('nav', { 'aria-label': 'Views' });
  private readonly bar = el('progress', { max: 1, 'aria-label': 'Progress' });
  private readonly state = el('p', { class: 'progress', hidden: true, role: 'status' });
  private readonly warning = el('p', { class: 'warning', role: 'alert', hidden: true });
  private place: Place | null = null;

  constructor(
    private readonly index: ExploreIndex,
    context: PageContext,
    private readonly tried: () => string,
    help: () => void,
  ) {
    const options = index.saes.map(({ name }) => el('option', { value: name }, name));
    this.saes = el('select', { 'aria-label': 'SAE', hidden: index.saes.length < 2 }, options);
    this.saes.addEventListener('change', () => this.place && context.go(withSae(this.place, this.saes.value)));
    this.element = el(
      'header',
      { id: 'top' },
      el('a', { class: 'home', href: addressOf({ view: 'list', sae: index.saes[0]!.name, query: {} }) }, index.title),
      this.saes,
      this.links,
      this.state,
      this.warning,
      el('button', { type: 'button', title: 'Keyboard: ?', 'aria-label': 'Keyboard shortcuts', onclick: help }, '?'),
    );
  }

  show(place: Place): void {
    this.place = place;
    const sae = 'sae' in place ? place.sae : place.left.sae;
    this.saes.value = sae;
    const query = place.view === 'list' || place.view === 'feature' ? place.query : {};
    const other = this.index.saes.find(({ name }) => name !== sae)?.name ?? sae;
    const places: readonly (readonly [string, Place, boolean])[] = [
      ['Features', { view: 'list', sae, query }, place.view === 'list'],
      ['Text', { ...untried(sae), text: this.tried() }, place.view === 'text'],
      [
        'Compare',
        { view: 'compare', left: { sae, feature: null }, right: { sae: other, feature: null } },
        place.view === 'compare',
      ],
    ];
    const shown = places.filter(([, { view }]) => view !== 'text' || this.index.live.text);
    refill(
      this.links,
      shown.map(([title, there, here]) => el('a', { href: addressOf(there), 'aria-current': here && 'page' }, title)),
    );
  }

  /** Shows a sentence until it is closed. */
  warn(text: string): void {
    const close = () => {
      this.warning.hidden = true;
    };
    refill(this.warning, text, ' ', el('button', { type: 'button', onclick: close }, 'Close'));
    this.warning.hidden = false;
  }

  /** @param share completed share, 1 at the end; null: unknown */
  progress(share: number | null, what: string): void {
    this.state.hidden = what === '' || share === 1;
    if (share === null) this.bar.removeAttribute('value');
    else this.bar.value = share;
    refill(this.state, this.bar, what);
  }
}

/** The same view of another SAE; feature numbers do not carry over, so a feature view becomes the list. */
function withSae(place: Place, sae: string): Place {
  if (place.view === 'compare') return { ...place, left: { sae, feature: null } };
  if (place.view === 'text') return { ...untried(sae), text: place.text };
  return { view: 'list', sae, query: { ...place.query, from: undefined } };
}

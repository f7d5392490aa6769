import type { ExploreSae } from '../api.js';
import { compareView } from './compare-view.js';
import { el, refill } from './dom.js';
import { featureView } from './feature-view.js';
import { keyHelp, listenForKeys, type Shortcut } from './keys.js';
import { ListPane } from './list-pane.js';
import type { PageContext } from './page-context.js';
import {
  addressOf,
  type ComparePlace,
  type FeaturePlace,
  type ListPlace,
  type Place,
  placeAt,
  type TextPlace,
  untried,
} from './route.js';
import { SidePane } from './side-pane.js';
import type { Source, Told } from './source.js';
import { TextView } from './text-view.js';
import { tip } from './tip.js';
import { TopBar } from './top-bar.js';
import { problemText } from './trouble.js';

/** Delay before a slow operation shows progress (milliseconds). */
const PATIENCE = 250;

/** The page: shows one place at a time, given by the address. */
export class Explorer implements PageContext {
  readonly told: Told;
  private readonly list: ListPane;
  private readonly side: SidePane;
  private readonly detail = el('section', { id: 'detail' });
  private readonly aloud = el('p', { class: 'unseen', 'aria-live': 'polite' });
  private readonly bar: TopBar;
  private readonly help: HTMLDialogElement;
  private readonly shortcuts: readonly Shortcut[];
  private place: Place;
  private text: TextView | null = null;
  /** The last submitted text, also used for the next feature. */
  private tried = '';

  constructor(
    readonly source: Source,
    private readonly main: HTMLElement,
  ) {
    this.place = this.addressed();
    this.shortcuts = this.makeShortcuts();
    this.help = keyHelp(this.shortcuts);
    this.bar = new TopBar(
      source.index,
      this,
      () => this.tried,
      () => this.help.showModal(),
    );
    this.told = (share, what) => this.bar.progress(share, what);
    this.side = new SidePane(this);
    this.list = new ListPane(this, (row) => this.side.mark(row));
  }

  start(): void {
    refill(this.main, this.list.element, this.detail, this.side.element);
    this.main.before(this.bar.element);
    document.body.append(this.aloud, this.help);
    addEventListener('hashchange', () => this.show(this.addressed()));
    listenForKeys(this.shortcuts);
    this.show(this.place);
  }

  // Views destructure their context, so these are bound.
  readonly go = (place: Place, { replace = false } = {}): void => {
    const address = addressOf(place);
    if (address === location.hash) return;
    if (replace) history.replaceState(null, '', address);
    else history.pushState(null, '', address);
    // Immediately, not when the browser reports the new address: keys that follow quickly start from here.
    this.show(place);
  };

  readonly warn = (text: string): void => this.bar.warn(text);

  readonly relist = (): void => {
    if (this.place.view === 'feature') this.list.update(this.place);
  };

  readonly announce = (text: string): void => refill(this.aloud, text);

  readonly sae = (name: string): ExploreSae =>
    this.source.index.saes.find((sae) => sae.name === name) ?? this.source.index.saes[0]!;

  private addressed(): Place {
    return placeAt(
      location.hash,
      this.source.index.saes.map(({ name }) => name),
    );
  }

  private show(place: Place): void {
    const before = this.place;
    this.place = place;
    tip.hide();
    this.bar.show(place);
    document.body.dataset.view = place.view;
    document.title = `${titleOf(place)} · ${this.source.index.title}`;
    if (place.view === 'list') this.showList(place, before);
    else if (place.view === 'feature') this.showFeature(place, before);
    else if (place.view === 'compare') this.fill(place, () => compareView(place, this));
    else this.showText(place);
    if (place.view === 'text') return;
    this.text?.leave();
    this.text = null;
  }

  private showList(place: ListPlace, before: Place): void {
    refill(this.detail, el('h1', { class: 'unseen' }, titleOf(place)));
    this.list.update(place).then(() => {
      // Back from a feature: to the same place in the list.
      if (before.view === 'feature' && document.activeElement === document.body) this.list.focusRow(0);
    });
    this.side.update(place);
  }

  private showFeature(place: FeaturePlace, before: Place): void {
    this.list.update(place);
    const same = before.view === 'feature' && before.sae === place.sae && before.feature === place.feature;
    const drawn = this.detail.querySelector('article.feature');
    // Only the list next to it has changed.
    if (same && drawn && before.lines === place.lines) this.refreshLinks(place);
    else {
      this.fill(place, async () =>
        featureView(await this.source.feature(place.sae, place.feature, this.told), place, this),
      ).then(() => this.readAhead(place));
    }
  }

  /** Prefetches the next feature of the list, which most readers open next. */
  private async readAhead(place: FeaturePlace): Promise<void> {
    if (this.place !== place) return;
    const next = await this.list.neighbour(1).catch(() => null);
    if (next) await this.source.feature(next.sae, next.feature, () => {}).catch(() => null);
  }

  /** The feature stays; its links now follow the new list. */
  private refreshLinks(place: FeaturePlace): void {
    for (const link of this.detail.querySelectorAll<HTMLAnchorElement>('a[href^="#/feature/"]')) {
      const there = placeAt(link.hash, [place.sae]);
      if (there.view === 'feature') link.href = addressOf({ ...there, query: place.query });
    }
  }

  private showText(place: TextPlace): void {
    this.text ??= new TextView(place, this);
    if (place.text !== '') this.tried = place.text;
    if (!this.text.element.isConnected) refill(this.detail, this.text.element);
    this.text.update(place);
  }

  /** Shows a view once it has loaded; until then, the previous one stays. */
  private async fill(place: Place, make: () => Promise<HTMLElement>): Promise<void> {
    const slow = setTimeout(() => this.detail.classList.add('waiting'), PATIENCE);
    try {
      const view = await make();
      if (this.place !== place) return;
      const within = this.detail.contains(document.activeElement);
      refill(this.detail, view);
      this.detail.scrollTop = 0;
      if (matchMedia('(max-width: 760px)').matches) scrollTo(0, 0);
      if (within || document.activeElement === document.body) this.detail.querySelector<HTMLElement>('h1')?.focus();
    } catch (error) {
      if (this.place === place)
        refill(
          this.detail,
          problemText(error, () => this.fill(place, make)),
        );
    } finally {
      clearTimeout(slow);
      if (this.place === place) {
        this.detail.classList.remove('waiting');
        this.told(1, '');
      }
    }
  }

  readonly step = async (step: number): Promise<void> => {
    if (this.place.view === 'list') {
      this.list.focusRow(step);
      return;
    }
    const next = await this.list.neighbour(step).catch(() => null);
    if (next) this.go(next);
    else this.announce(step > 0 ? 'This is the last feature of the list.' : 'This is the first feature of the list.');
  };

  private back(): void {
    const { place } = this;
    if (place.view === 'feature') this.go({ view: 'list', sae: place.sae, query: place.query });
    else if (place.view !== 'list') history.back();
  }

  readonly compare = (): void => {
    const { place } = this;
    const sae = 'sae' in place ? place.sae : place.left.sae;
    const feature = place.view === 'feature' ? place.feature : null;
    const other = feature === null ? (this.source.index.saes.find(({ name }) => name !== sae)?.name ?? sae) : sae;
    const there: ComparePlace = { view: 'compare', left: { sae, feature }, right: { sae: other, feature: null } };
    this.go(there);
  };

  readonly tryText = (): void => {
    const { place } = this;
    if (!this.source.index.live.text) return;
    const sae = 'sae' in place ? place.sae : place.left.sae;
    this.go({ ...untried(sae), text: this.tried, feature: place.view === 'feature' ? place.feature : null });
  };

  private focusField(selector: string): void {
    const field = this.detail.querySelector<HTMLElement>(selector);
    field?.focus();
  }

  private makeShortcuts(): Shortcut[] {
    const toggleLines = () => {
      const { place } = this;
      if (place.view === 'feature') this.go({ ...place, lines: place.lines === 'aligned' ? 'wrapped' : 'aligned' });
    };
    return [
      { keys: ['/'], meaning: 'search', run: () => this.toSearch() },
      { keys: ['j', 'ArrowDown'], meaning: 'next feature', run: () => this.step(1) },
      { keys: ['k', 'ArrowUp'], meaning: 'previous feature', run: () => this.step(-1) },
      { keys: [']'], meaning: 'next page of the list', run: () => this.list.turnPage(1) },
      { keys: ['['], meaning: 'previous page of the list', run: () => this.list.turnPage(-1) },
      { keys: ['f'], meaning: 'from the list to its filters', run: () => this.side.focus() },
      { keys: ['e'], meaning: 'to the examples', run: () => this.focusField('.lines .text') },
      { keys: ['w'], meaning: 'full or aligned lines', run: toggleLines },
      { keys: ['l'], meaning: 'edit the label', run: () => this.focusField('.labels .label') },
      { keys: ['n'], meaning: 'edit the note', run: () => this.focusField('.labels .note') },
      { keys: ['c'], meaning: 'compare', run: () => this.compare() },
      { keys: ['t'], meaning: 'run a text', run: this.tryText },
      { keys: ['Escape', 'u'], meaning: 'back to the list', run: () => this.back() },
      { keys: ['?'], meaning: 'this help', run: () => this.help.showModal() },
    ];
  }

  private toSearch(): void {
    const { place } = this;
    if (place.view !== 'list' && place.view !== 'feature') {
      this.go({ view: 'list', sae: 'sae' in place ? place.sae : place.left.sae, query: {} });
    }
    this.list.focusSearch();
  }
}

function titleOf(place: Place): string {
  if (place.view === 'list') return `Features of ${place.sae}`;
  if (place.view === 'feature') return `${place.sae} ${place.feature}`;
  if (place.view === 'text') return 'Run a text';
  const [a, b] = [place.left, place.right].map(({ sae, feature }) => (feature === null ? sae : `${sae} ${feature}`));
  return `${a} and ${b}`;
}

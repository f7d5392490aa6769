import type { FeatureList, FeatureRow, ListQuery, SearchPlace } from '../api.js';
import { el, refill } from './dom.js';
import { activeFilters } from './filters.js';
import { integerText } from './format.js';
import { featureTable, sortedBy, sortTitles } from './list-table.js';
import type { PageContext } from './page-context.js';
import { addressOf, type FeaturePlace, type ListPlace } from './route.js';
import { problemText } from './trouble.js';

/** Rows per page of the list. */
export const PAGE_ROWS = 50;
/** Delay after the last key before searching (milliseconds). */
const PAUSE = 160;

/**
 * The list of features: search, filters, a table, and pages. A single element for the lifetime of the page: the whole
 * view, or, next to a feature, a column for moving to the next.
 */
export class ListPane {
  readonly element: HTMLElement;
  private readonly search = el('input', {
    ...{
      type: 'search',
      id: 'search',
      placeholder: 'Search tokens, logits, labels, or #17',
      'aria-label': 'Search features',
    },
    ...{ autocomplete: 'off', spellcheck: 'false', 'aria-keyshortcuts': '/' },
  });
  private readonly within = el(
    'select',
    { 'aria-label': 'Where to search' },
    Object.entries(PLACES).map(([value, title]) => el('option', { value }, title)),
  );
  private readonly order = el('select', { 'aria-label': 'Sort by', class: 'order' });
  private readonly summary = el('p', { class: 'summary', role: 'status' });
  private readonly chips = el('p', { class: 'chips' });
  private readonly table = el('div', { class: 'scroll' });
  private readonly pager = el('nav', { class: 'pager', 'aria-label': 'Pages of the list' });
  private place: ListPlace | FeaturePlace | null = null;
  private shown: FeatureList = { total: 0, rows: [] };
  private turn = 0;
  private typing: ReturnType<typeof setTimeout> | undefined;
  /** Position of the current feature in the list: "next" continues there after a visit elsewhere. */
  private last = -1;

  constructor(
    private readonly context: PageContext,
    private readonly pointed: (row: FeatureRow | null) => void,
  ) {
    const bar = el('div', { class: 'search', role: 'search' }, this.search, this.within, this.order);
    this.element = el('section', { id: 'list', 'aria-label': 'List of features' }, bar, this.summary, this.chips);
    // On a phone they are below the list.
    const toSide = () => document.querySelector('#side')?.scrollIntoView();
    this.element.append(el('button', { type: 'button', class: 'to-side', onclick: toSide }, 'Scatter and filters ↓'));
    this.element.append(this.table, this.pager);
    refill(
      this.order,
      sortTitles.map(([column, title]) => el('option', { value: column }, title)),
    );
    this.search.addEventListener('input', () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.searchNow(), PAUSE);
    });
    this.search.addEventListener('keydown', (event) => this.leaveSearch(event));
    this.within.addEventListener('change', () => this.searchNow());
    this.order.addEventListener('change', () => {
      const column = sortTitles.find(([name]) => name === this.order.value)?.[0];
      if (column) this.requery({ ...sortedBy({ ...this.query, sort: undefined, order: undefined }, column) });
    });
  }

  /** Shows the list of a place; the previous one stays until the new one has arrived. */
  async update(place: ListPlace | FeaturePlace): Promise<void> {
    const other = this.place?.sae !== place.sae;
    const moved = other || this.place?.query.from !== place.query.from || this.place?.query.sort !== place.query.sort;
    this.place = place;
    const turn = ++this.turn;
    const { q = '', in: within = '', sort = 'frequency' } = place.query;
    if (document.activeElement !== this.search) this.search.value = q;
    [this.within.value, this.order.value] = [within, sort];
    // A narrow list has room for only one kind of text: the one searched.
    this.element.dataset.within = within;
    // After a change of order, the first row comes next.
    if (moved) this.last = -1;
    this.element.classList.add('waiting');
    try {
      const list = await this.context.source.list(place.sae, this.asked(place.query), this.context.told);
      if (turn !== this.turn) return;
      this.shown = list;
      this.draw();
      if (moved) this.table.scrollTop = 0;
    } catch (error) {
      if (turn === this.turn)
        refill(
          this.table,
          problemText(error, () => this.update(place)),
        );
    } finally {
      if (turn === this.turn) this.element.classList.remove('waiting');
    }
  }

  focusSearch(): void {
    this.search.focus();
    this.search.select();
  }

  /** Moves the focus to the next or previous row. */
  focusRow(step: number): void {
    const links = [...this.table.querySelectorAll<HTMLElement>('tbody a')];
    const now = links.indexOf(document.activeElement as HTMLElement);
    const next = now === -1 ? this.last : now + step;
    links[Math.min(links.length - 1, Math.max(0, next))]?.focus();
  }

  /** Turns the page of the list: 1 for the next, −1 for the previous. */
  turnPage(step: number): void {
    const from = Math.max(0, (this.query.from ?? 0) + step * PAGE_ROWS);
    if (from < this.shown.total && from !== (this.query.from ?? 0)) this.requery({ ...this.query, from });
  }

  /** The feature after (1) or before (−1) the current one in the list, on whichever page; null at its ends. */
  async neighbour(step: number): Promise<FeaturePlace | null> {
    const { place } = this;
    if (place?.view !== 'feature') return null;
    const here = this.shown.rows.findIndex(({ feature }) => feature === place.feature);
    const next = (here === -1 ? this.last : here) + step;
    const row = this.shown.rows[next];
    if (row) return { ...place, feature: row.feature };
    const from = (place.query.from ?? 0) + step * PAGE_ROWS;
    if (from < 0 || from >= this.shown.total) return null;
    const query = { ...place.query, from };
    const { rows } = await this.context.source.list(place.sae, this.asked(query), this.context.told);
    const feature = rows[step > 0 ? 0 : rows.length - 1]?.feature;
    return feature === undefined ? null : { ...place, feature, query };
  }

  private get query(): ListQuery {
    return this.place?.query ?? {};
  }

  private asked(query: ListQuery): ListQuery {
    return { ...query, count: PAGE_ROWS };
  }

  private requery(query: ListQuery, replace = false): void {
    if (this.place) this.context.go({ ...this.place, query }, { replace });
  }

  private searchNow(): void {
    clearTimeout(this.typing);
    // A number with # goes to that feature instead of searching.
    if (numbered(this.search.value) !== null) return;
    const within = (this.within.value || undefined) as SearchPlace | undefined;
    this.requery({ ...this.query, q: this.search.value || undefined, in: within, from: undefined }, true);
  }

  private leaveSearch(event: KeyboardEvent): void {
    if (event.key === 'ArrowDown' || event.key === 'Enter') {
      event.preventDefault();
      const feature = numbered(this.search.value);
      if (feature !== null) {
        this.search.value = this.query.q ?? '';
        this.search.blur();
        location.hash = this.hrefOf(feature);
        return;
      }
      this.searchNow();
      this.focusRow(0);
    }
    if (event.key === 'Escape') this.search.blur();
  }

  private draw(): void {
    const place = this.place!;
    const { rows, total } = this.shown;
    const chosen = place.view === 'feature' ? place.feature : null;
    const index = rows.findIndex(({ feature }) => feature === chosen);
    if (index !== -1) this.last = index;
    const table = featureTable(rows, place.query, chosen, {
      href: (feature) => this.hrefOf(feature),
      sort: (column) => this.requery(sortedBy(this.query, column)),
      pointed: this.pointed,
    });
    const focused = (document.activeElement?.closest('#list tr') as HTMLElement | null)?.dataset.feature;
    refill(this.table, total === 0 ? el('p', { class: 'none' }, 'No feature matches.') : table);
    this.table.querySelector<HTMLElement>(`tr[data-feature="${focused}"] a`)?.focus();
    this.table.querySelector('tr.chosen')?.scrollIntoView({ block: 'nearest' });
    const of = this.context.sae(place.sae).dSae;
    this.table.style.setProperty('--digits', String(String(of - 1).length));
    const all = integerText(of);
    refill(this.summary, total === of ? `${all} features` : `${integerText(total)} of ${all} features`);
    refill(
      this.chips,
      activeFilters(this.query).map(({ text, without }) =>
        el('button', { type: 'button', title: 'Remove', onclick: () => this.requery(without) }, text, ' ×'),
      ),
    );
    this.drawPager();
  }

  private drawPager(): void {
    const { total, rows } = this.shown;
    const from = this.query.from ?? 0;
    const link = (step: number, text: string, name: string) => {
      const to = from + step * PAGE_ROWS;
      if (to < 0 || to >= total || !this.place) return el('span', { class: 'quiet', 'aria-hidden': 'true' }, text);
      return el(
        'a',
        { href: addressOf({ ...this.place, query: { ...this.query, from: to } }), 'aria-label': name },
        text,
      );
    };
    this.pager.hidden = total <= PAGE_ROWS;
    refill(
      this.pager,
      link(-1, '←', 'Previous page'),
      `${integerText(from + 1)}–${integerText(from + rows.length)}`,
      link(1, '→', 'Next page'),
    );
  }

  private hrefOf(feature: number): string {
    const { sae, query } = this.place!;
    const lines = this.place!.view === 'feature' ? this.place!.lines : 'aligned';
    return addressOf({ view: 'feature', sae, feature, query, lines });
  }
}

/** The feature requested by "#17", or null. */
function numbered(text: string): number | null {
  const digits = /^#(\d{1,9})$/.exec(text.trim())?.[1];
  return digits === undefined ? null : Number(digits);
}

const PLACES: Readonly<Record<SearchPlace | '', string>> = {
  '': 'anywhere',
  tokens: 'in tokens',
  logits: 'in logits',
  labels: 'in labels',
};

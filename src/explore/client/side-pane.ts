import type { ExploreIndex, FeatureRow } from '../api.js';
import { saeFacts } from './compare-view.js';
import { el, refill } from './dom.js';
import { boundedBy, filterForm } from './filters.js';
import { integerText } from './format.js';
import type { PageContext } from './page-context.js';
import type { ListPlace } from './route.js';
import { type ScatterBounds, ScatterPlot, scatterSentence } from './scatter.js';
import { problemText } from './trouble.js';

/** Next to the list: the scatter plot, the filters, and the data's origin. */
export class SidePane {
  readonly element: HTMLElement;
  private readonly plot: ScatterPlot;
  private readonly sentence = el('p', { class: 'quiet' });
  private readonly filters = el('div', {});
  private readonly facts = el('dl', { class: 'facts' });
  private place: ListPlace | null = null;
  private sae = '';

  constructor(private readonly context: PageContext) {
    this.plot = new ScatterPlot({
      open: (feature) => {
        const { sae, query } = this.place!;
        context.go({ view: 'feature', sae, feature, query, lines: 'aligned' });
      },
      bound: (bounds) => this.bound(bounds),
      announce: context.announce,
    });
    this.element = el(
      'aside',
      { id: 'side', 'aria-label': 'Overview and filters' },
      el('section', {}, el('h2', {}, 'Frequency and maximum'), this.plot.element, this.sentence),
      el('section', {}, el('h2', {}, 'Filters'), this.filters),
      el('section', {}, el('h2', {}, 'Made from'), this.facts),
    );
  }

  async update(place: ListPlace): Promise<void> {
    this.place = place;
    const focused = document.activeElement?.getAttribute('aria-label');
    const inside = this.filters.contains(document.activeElement);
    refill(
      this.filters,
      filterForm(place.query, (query) => this.context.go({ ...place, query })),
    );
    if (inside && focused) {
      const fields = [...this.filters.querySelectorAll<HTMLElement>('input, select')];
      fields.find((field) => field.getAttribute('aria-label') === focused)?.focus();
    }
    const { sae } = place;
    refill(
      this.facts,
      [...saeFacts(this.context.sae(sae)), ...corpusFacts(this.context.source.index)].map(([name, value]) =>
        el('div', {}, el('dt', {}, name), el('dd', {}, value)),
      ),
    );
    try {
      const data = await this.context.source.scatter(sae);
      if (this.place !== place) return;
      this.plot.show(data, boundsOf(place));
      const hint = ' Click a point, or drag to select several.';
      refill(this.sentence, scatterSentence(data), hint);
      this.sae = sae;
    } catch (error) {
      if (this.place === place)
        refill(
          this.sentence,
          problemText(error, () => this.update(place)),
        );
    }
  }

  /** Focuses the first filter. */
  focus(): void {
    this.filters.querySelector('select')?.focus();
  }

  /** Shows a row of the list in the scatter plot. */
  mark(row: FeatureRow | null): void {
    if (this.place?.sae === this.sae) this.plot.mark(row);
  }

  private bound({ frequency, max }: ScatterBounds): void {
    const { place } = this;
    if (!place) return;
    const query = boundedBy(boundedBy(place.query, 'frequency', frequency), 'max', max);
    this.context.go({ ...place, query });
  }
}

function boundsOf({ query: { bounds = {} } }: ListPlace): ScatterBounds | null {
  if (!bounds.frequency && !bounds.max) return null;
  const all = [0, Infinity] as const;
  return { frequency: bounds.frequency ?? all, max: bounds.max ?? all };
}

function corpusFacts({ model, corpus, tokens, contexts, contextLength }: ExploreIndex): (readonly [string, string])[] {
  return [
    ['model', model],
    ['corpus', corpus],
    ['tokens', integerText(tokens)],
    ['contexts', `${integerText(contexts)}, of ${integerText(contextLength)} tokens each`],
  ];
}

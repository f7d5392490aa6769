import type {
  ExploreIndex,
  FeatureLabel,
  FeatureList,
  FeaturePage,
  FeatureRow,
  FeatureScatter,
  ListColumn,
  ListQuery,
  TextReply,
} from '../api.js';
import { Unanswered } from './answers.js';
import type { Source } from './source.js';

/** A page's embedded data: the values that a server would return, by path. */
export type EmbeddedData = Readonly<Record<string, unknown>>;

/** The few features of a self-contained page. */
export class EmbeddedSource implements Source {
  readonly index: ExploreIndex;

  constructor(private readonly data: EmbeddedData) {
    this.index = this.at<ExploreIndex>('data/index.json');
  }

  async list(sae: string, query: ListQuery): Promise<FeatureList> {
    const pages = (this.index.only?.[sae] ?? []).map((feature) => this.page(sae, feature));
    const found = pages.filter((page) => fits(page, query)).map(rowOf);
    const { sort = 'frequency', order = 'desc', from = 0, count = 50 } = query;
    const direction = order === 'asc' ? 1 : -1;
    const rows = found.sort((a, b) => compare(valueIn(a, sort), valueIn(b, sort), direction) || a.feature - b.feature);
    return { total: rows.length, rows: rows.slice(from, from + count) };
  }

  async scatter(sae: string): Promise<FeatureScatter> {
    const pages = (this.index.only?.[sae] ?? []).map((feature) => this.page(sae, feature)).filter(({ max }) => max > 0);
    const [feature, frequency, max] = (['feature', 'frequency', 'max'] as const).map((key) =>
      pages.map((page) => page[key]),
    );
    return { feature: feature!, frequency: frequency!, max: max!, of: pages.length };
  }

  async feature(sae: string, feature: number): Promise<FeaturePage> {
    return this.page(sae, feature);
  }

  async saveLabel(): Promise<FeatureLabel> {
    throw new Unanswered('This page cannot save labels.');
  }

  async tryText(): Promise<TextReply> {
    throw new Unanswered('This page cannot run a model.');
  }

  async steer(): Promise<void> {
    throw new Unanswered('This page cannot run a model.');
  }

  async attribute(): Promise<void> {
    throw new Unanswered('This page cannot run a model.');
  }

  private page(sae: string, feature: number): FeaturePage {
    return this.at(`data/${sae}/features/${feature}.json`);
  }

  private at<T>(path: string): T {
    if (!Object.hasOwn(this.data, path)) {
      throw new Unanswered('This feature is not on this page.', 'It contains only those in its list.');
    }
    return this.data[path] as T;
  }
}

/** Tokens at the peaks of the strongest examples, without repetition. */
function peakTokens({ bands }: FeaturePage): string[] {
  const strongest = bands.find(({ band }) => band === 0)?.examples ?? [];
  return [...new Set(strongest.map(({ tokens, peak }) => tokens[peak] ?? ''))].slice(0, 8);
}

function rowOf(page: FeaturePage): FeatureRow {
  return {
    ...page,
    decoderCosine: page.decoderNeighbours[0]?.value ?? null,
    encoderCosine: page.encoderNeighbours[0]?.value ?? null,
    tokens: peakTokens(page),
    logits: page.topLogits.map(({ token }) => token),
  };
}

function fits(page: FeaturePage, { q = '', in: place, alive, labelled, bounds }: ListQuery): boolean {
  const places = {
    tokens: peakTokens(page),
    logits: page.topLogits.map(({ token }) => token),
    labels: [page.label ?? '', page.note ?? ''],
  };
  const texts = place === undefined ? Object.values(places).flat() : places[place];
  const asked = q.toLowerCase();
  const found = texts.some((text) => text.toLowerCase().includes(asked)) || String(page.feature) === q.trim();
  const given = (page.label ?? page.note) !== null;
  const row = rowOf(page);
  return (
    (q === '' || found) &&
    (alive === undefined || (alive === 1) === page.max > 0) &&
    (labelled === undefined || (labelled === 1) === given) &&
    Object.entries(bounds ?? {}).every(([column, [least, most]]) => {
      const value = valueIn({ ...row, ...page }, column as ListColumn);
      return value !== null && value >= least && value <= most;
    })
  );
}

function valueIn(row: FeatureRow & Partial<FeaturePage>, column: ListColumn): number | null {
  return row[column] ?? null;
}

function compare(a: number | null, b: number | null, direction: number): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  return direction * (a - b);
}

import type {
  ExploreIndex,
  ExploreStatus,
  FeatureLabel,
  FeatureList,
  FeaturePage,
  FeatureScatter,
  LabelRequest,
  ListQuery,
  TextReply,
  TextRequest,
} from '../api.js';
import type { AttributeEvent, AttributeRequest, SteerEvent, SteerRequest } from '../steering-api.js';
import { jsonAt } from './answers.js';
import { linesAt } from './line-stream.js';
import { listParameters } from './route.js';

/** Source of the page's data: a live server, plain files, or the page itself. */
export interface Source {
  readonly index: ExploreIndex;
  list(sae: string, query: ListQuery, told: Told): Promise<FeatureList>;
  scatter(sae: string): Promise<FeatureScatter>;
  feature(sae: string, feature: number, told: Told): Promise<FeaturePage>;
  saveLabel(request: LabelRequest): Promise<FeatureLabel>;
  tryText(request: TextRequest, told: Told): Promise<TextReply>;
  /**
   * Resolves once the events have ended.
   *
   * @param signal aborted to cancel
   */
  steer(request: SteerRequest, take: (event: SteerEvent) => void, signal: AbortSignal): Promise<void>;
  /** Likewise. */
  attribute(request: AttributeRequest, take: (event: AttributeEvent) => void, signal: AbortSignal): Promise<void>;
}

/** Progress of a slow operation: the completed share if known, otherwise null, and a description. */
export type Told = (share: number | null, what: string) => void;

/** Requests everything from `sae-pipe explore`, and caches recent features: going back is free. */
export class LiveSource implements Source {
  private readonly features = new Newest<Promise<FeaturePage>>(64);
  private readonly lists = new Newest<Promise<FeatureList>>(16);
  private readonly scatters = new Newest<Promise<FeatureScatter>>(8);

  constructor(readonly index: ExploreIndex) {}

  list(sae: string, query: ListQuery): Promise<FeatureList> {
    const path = `data/${sae}/list?${listParameters(query)}`;
    return this.lists.get(path, () => jsonAt<FeatureList>(path));
  }

  scatter(sae: string): Promise<FeatureScatter> {
    const path = `data/${sae}/scatter.json`;
    return this.scatters.get(path, () => jsonAt<FeatureScatter>(path));
  }

  feature(sae: string, feature: number): Promise<FeaturePage> {
    const path = `data/${sae}/features/${feature}.json`;
    return this.features.get(path, () => jsonAt<FeaturePage>(path));
  }

  async saveLabel(request: LabelRequest): Promise<FeatureLabel> {
    const saved = await jsonAt<FeatureLabel>('api/labels', request);
    // Labels also appear in lists and next to neighbours.
    this.features.clear();
    this.lists.clear();
    return saved;
  }

  async tryText(request: TextRequest, told: Told): Promise<TextReply> {
    let answered = false;
    const follow = async () => {
      while (!answered) {
        const status = await jsonAt<ExploreStatus>('api/status').catch(() => null);
        if (answered) break;
        if (status) told(null, statusText(status));
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    };
    const timer = setTimeout(follow, 300);
    try {
      return await jsonAt<TextReply>('api/text', request);
    } finally {
      answered = true;
      clearTimeout(timer);
    }
  }

  steer(request: SteerRequest, take: (event: SteerEvent) => void, signal: AbortSignal): Promise<void> {
    return linesAt('api/steer', request, signal, take);
  }

  attribute(request: AttributeRequest, take: (event: AttributeEvent) => void, signal: AbortSignal): Promise<void> {
    return linesAt('api/attribute', request, signal, take);
  }
}

/** A small LRU cache. Rejected promises are not kept. */
export class Newest<T> {
  private readonly values = new Map<string, T>();

  constructor(private readonly most: number) {}

  get(key: string, make: () => T): T {
    const value = this.values.get(key) ?? make();
    this.values.delete(key);
    this.values.set(key, value);
    if (value instanceof Promise) value.catch(() => this.values.delete(key));
    if (this.values.size > this.most) this.values.delete(this.values.keys().next().value!);
    return value;
  }

  clear(): void {
    this.values.clear();
  }
}

function statusText({ model, waiting, seconds }: ExploreStatus): string {
  if (model === 'closed' || model === 'opening') return `Opening the model, ${Math.round(seconds)} s`;
  return waiting > 1 ? `Waiting for ${waiting - 1} other ${waiting === 2 ? 'text' : 'texts'}` : 'Running the model';
}

import { type ListColumn, type ListQuery, listColumns, type SearchPlace, searchPlaces } from '../api.js';
import { putSteering, type SteerPlace, steeringIn, UNSTEERED } from './steer-address.js';

/** What the page shows. All of it is in the address, after the #, so that a link suffices to come back. */
export type Place = ListPlace | FeaturePlace | ComparePlace | TextPlace;

export interface ListPlace {
  readonly view: 'list';
  readonly sae: string;
  readonly query: ListQuery;
}

export interface FeaturePlace {
  readonly view: 'feature';
  readonly sae: string;
  readonly feature: number;
  /** The list that the feature was chosen from, which "next" and "previous" follow. */
  readonly query: ListQuery;
  readonly lines: Lines;
}

/** Two features, or two SAEs if a feature is null. */
export interface ComparePlace {
  readonly view: 'compare';
  readonly left: CompareSide;
  readonly right: CompareSide;
}

export interface CompareSide {
  readonly sae: string;
  readonly feature: number | null;
}

export interface TextPlace {
  readonly view: 'text';
  readonly sae: string;
  readonly text: string;
  /** The feature that colours the text by its activations; null: by the strongest. */
  readonly feature: number | null;
  /** The token whose features are listed. */
  readonly at: number | null;
  /** The candidate next token, by id, whose logit is attributed to features. */
  readonly next: number | 'likeliest' | null;
  readonly steer: SteerPlace;
}

/** No text yet, nothing selected and nothing changed. */
export const untried = (sae: string): TextPlace => ({
  ...{ view: 'text', sae, text: '', feature: null, at: null, next: null, steer: UNSTEERED },
});

/** Examples on one line each with their peaks aligned, or in full. */
export type Lines = 'aligned' | 'wrapped';

/** The address of a place, "#/feature/gated/17?sort=max". */
export function addressOf(place: Place): string {
  const parameters = new URLSearchParams();
  if (place.view === 'list') return address(['list', place.sae], listParameters(place.query));
  if (place.view === 'feature') {
    const query = listParameters(place.query);
    if (place.lines !== 'aligned') query.set('lines', place.lines);
    return address(['feature', place.sae, String(place.feature)], query);
  }
  if (place.view === 'compare') {
    for (const [key, { sae, feature }] of [
      ['a', place.left],
      ['b', place.right],
    ] as const) {
      parameters.set(key, feature === null ? sae : `${sae}/${feature}`);
    }
    return address(['compare'], parameters);
  }
  if (place.text !== '') parameters.set('text', place.text);
  if (place.feature !== null) parameters.set('feature', String(place.feature));
  if (place.at !== null) parameters.set('at', String(place.at));
  if (place.next !== null) parameters.set('next', String(place.next));
  putSteering(parameters, place.steer);
  return address(['text', place.sae], parameters);
}

/**
 * The place at an address. Missing or invalid parts get their defaults: the list of the first SAE.
 *
 * @param saes names of the existing SAEs; at least one
 */
export function placeAt(hash: string, saes: readonly string[]): Place {
  const [path = '', search = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  const [view, ...rest] = path.split('/').map(decoded);
  const parameters = new URLSearchParams(search);
  const named = (name: string | undefined) => (name !== undefined && saes.includes(name) ? name : saes[0]!);
  const sae = named(rest[0]);
  const feature = featureIn(rest[1]);
  if (view === 'feature' && feature !== null) {
    const lines = parameters.get('lines') === 'wrapped' ? 'wrapped' : 'aligned';
    return { view, sae, feature, query: listQueryOf(parameters), lines };
  }
  if (view === 'compare') {
    const side = (text: string | null, otherwise: string): CompareSide => {
      const [name, number] = (text ?? otherwise).split('/');
      return { sae: named(name), feature: featureIn(number) };
    };
    const left = side(parameters.get('a'), saes[0]!);
    const right = side(parameters.get('b'), saes[1] ?? saes[0]!);
    // A feature next to an SAE is not a comparison yet: its other side is chosen on the page.
    return { view, left, right };
  }
  if (view === 'text') {
    const [asked, at] = [featureIn(parameters.get('feature')), featureIn(parameters.get('at'))];
    const next = parameters.get('next') === 'likeliest' ? 'likeliest' : featureIn(parameters.get('next'));
    return {
      ...{ view, sae, text: parameters.get('text') ?? '', feature: asked, at },
      ...{ next: at === null ? null : next, steer: steeringIn(parameters) },
    };
  }
  return { view: 'list', sae, query: listQueryOf(parameters) };
}

/** A query as URL parameters; defaults are omitted. */
export function listParameters(query: ListQuery): URLSearchParams {
  const parameters = new URLSearchParams();
  const put = (key: string, value: string | number | undefined) => {
    if (value !== undefined && value !== '') parameters.set(key, String(value));
  };
  put('q', query.q);
  put('in', query.q ? query.in : undefined);
  put('sort', query.sort);
  put('order', query.order);
  put('alive', query.alive);
  put('labelled', query.labelled);
  for (const column of listColumns) {
    const bound = query.bounds?.[column];
    if (bound) put(column, boundText(bound));
  }
  put('from', query.from || undefined);
  put('count', query.count);
  return parameters;
}

/** The query from URL parameters; invalid ones are ignored. */
export function listQueryOf(parameters: URLSearchParams): ListQuery {
  const bounds: Partial<Record<ListColumn, readonly [number, number]>> = {};
  for (const column of listColumns) {
    const bound = boundIn(parameters.get(column));
    if (bound) bounds[column] = bound;
  }
  const either = (key: string) => ({ '0': 0, '1': 1 })[parameters.get(key) ?? ''] as 0 | 1 | undefined;
  const order = parameters.get('order');
  const from = featureIn(parameters.get('from'));
  const query: { -readonly [K in keyof ListQuery]: ListQuery[K] } = {
    q: parameters.get('q') || undefined,
    in: searchPlaces.find((one: SearchPlace) => one === parameters.get('in')),
    sort: listColumns.find((one) => one === parameters.get('sort')),
    order: order === 'asc' || order === 'desc' ? order : undefined,
    alive: either('alive'),
    labelled: either('labelled'),
    bounds: Object.keys(bounds).length > 0 ? bounds : undefined,
    from: from || undefined,
  };
  for (const key of Object.keys(query) as (keyof ListQuery)[]) if (query[key] === undefined) delete query[key];
  return query;
}

function boundText([least, most]: readonly [number, number]): string {
  return `${Number.isFinite(least) ? least : ''}..${Number.isFinite(most) ? most : ''}`;
}

function boundIn(text: string | null): readonly [number, number] | undefined {
  const [least, most, ...rest] = (text ?? '').split('..');
  if (least === undefined || most === undefined || rest.length > 0) return undefined;
  const ends = [least === '' ? -Infinity : Number(least), most === '' ? Infinity : Number(most)] as const;
  return ends.some(Number.isNaN) || ends[0] > ends[1] ? undefined : ends;
}

function featureIn(text: string | null | undefined): number | null {
  return /^\d{1,9}$/.test(text ?? '') ? Number(text) : null;
}

function address(path: readonly string[], parameters: URLSearchParams): string {
  // A slash needs no escape here, and is easier to read.
  const search = parameters.toString().replaceAll('%2F', '/');
  return `#/${path.map(encodeURIComponent).join('/')}${search === '' ? '' : `?${search}`}`;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return '';
  }
}

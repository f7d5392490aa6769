import { type ListColumn, type ListQuery, listColumns, searchPlaces } from './api.js';

/** An invalid query; its message is a sentence. */
export class WrongQuery extends Error {}

/** Default number of rows, and maximum. */
export const USUAL_ROWS = 50;
const MOST_ROWS = 500;
/** Max characters of a search. */
const MOST_SEARCHED = 200;

/**
 * The list requested by a URL. The page parses its own address more leniently (client/route.ts).
 *
 * @throws WrongQuery for an unknown key or an invalid value
 */
export function askedList(parameters: URLSearchParams): ListQuery {
  const query: { -readonly [K in keyof ListQuery]: ListQuery[K] } = {};
  const bounds: Partial<Record<ListColumn, readonly [number, number]>> = {};
  for (const [key, value] of parameters) {
    if (key === 'q') query.q = value.slice(0, MOST_SEARCHED);
    else if (key === 'in') query.in = oneOf(key, value, searchPlaces);
    else if (key === 'sort') query.sort = oneOf(key, value, listColumns);
    else if (key === 'order') query.order = oneOf(key, value, ['asc', 'desc'] as const);
    else if (key === 'alive' || key === 'labelled') query[key] = oneOf(key, value, ['0', '1']) === '1' ? 1 : 0;
    else if (key === 'from') query.from = countOf(key, value, Number.MAX_SAFE_INTEGER);
    else if (key === 'count') query.count = countOf(key, value, MOST_ROWS);
    else if ((listColumns as readonly string[]).includes(key)) bounds[key as ListColumn] = boundsOf(key, value);
    else throw new WrongQuery(`Lists have no parameter "${key.slice(0, 40)}".`);
  }
  if (Object.keys(bounds).length > 0) query.bounds = bounds;
  return query;
}

function oneOf<T extends string>(key: string, value: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === value);
  if (found === undefined) throw new WrongQuery(`"${key}" must be one of ${choices.join(', ')}.`);
  return found;
}

function countOf(key: string, value: string, most: number): number {
  const count = Number(value);
  if (!/^\d+$/.test(value) || count > most) throw new WrongQuery(`"${key}" must be an integer of at most ${most}.`);
  return count;
}

function boundsOf(key: string, value: string): [number, number] {
  const parts = value.split('..');
  const numbers = parts.map((part) => (part.trim() === '' ? undefined : Number(part)));
  if (parts.length !== 2 || numbers.some(Number.isNaN))
    throw new WrongQuery(`"${key}" must be a range: 0.1..0.5, 0.1.. or ..0.5.`);
  return [numbers[0] ?? Number.NEGATIVE_INFINITY, numbers[1] ?? Number.POSITIVE_INFINITY];
}

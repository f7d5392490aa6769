import type { Generator } from '../../../src/random/generator.js';
import { oneIn, pick } from './chance.js';
import { mutateText } from './text.js';

/** A value as text: numbers that JSON.stringify would not write, and nesting that would overflow it, among them. */
class Raw {
  constructor(readonly json: string) {}
}

/** Values that a reader must not stumble over; `elsewhere` are paths that lead out of the directory. */
function hostile(random: Generator, elsewhere: readonly string[]): unknown {
  const numbers = [
    '-1',
    '0',
    '1.5',
    '1e308',
    '-1e308',
    '1e999',
    '5e-324',
    '9007199254740993',
    '4294967296',
    '-0',
    '1e9',
  ];
  return pick<() => unknown>(random, [
    () => new Raw(pick(random, numbers)),
    () => new Raw(pick(random, numbers)),
    () => pick(random, elsewhere),
    () => pick(random, [null, true, false, '', [], {}, [[]], [null], { '': null }]),
    () =>
      pick(random, ['\u0000', 'a\nb', '\u001b[2J', '\ud800', '__proto__', 'constructor', 'toString', '٣', '..', '.']),
    () => ({ toString: 1, valueOf: 1, length: -1, toJSON: 1, constructor: 1 }),
    () => new Raw('{"__proto__": {"x": 1}, "a": 1, "a": 2}'),
    () => {
      const levels = pick(random, [100, 20_000]);
      return new Raw('['.repeat(levels) + ']'.repeat(levels));
    },
    () => new Raw(`${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`),
    () => 'x'.repeat(pick(random, [300, 100_000])),
    () => Array.from({ length: pick(random, [3, 10_000]) }, (_, i) => i),
    () => Array.from({ length: 200 }, () => ({})),
  ])();
}

/**
 * JSON text of a value that was changed in one to three places: a value replaced by a hostile one, a key left out,
 * doubled, renamed or added; once in eight times the text itself.
 */
export function mutateJson(text: string, random: Generator, elsewhere: readonly string[]): Buffer {
  if (oneIn(random, 8)) return mutateText(Buffer.from(text), random);
  const root = { value: JSON.parse(text) as unknown };
  for (let left = 1 + random.below(3); left > 0; left--) changeOne(root, random, elsewhere);
  return Buffer.from(write(root.value));
}

type Holder = Record<string | number, unknown>;

function changeOne(root: Holder, random: Generator, elsewhere: readonly string[]): void {
  const places = placesOf(root).slice(0, 5000);
  const [holder, key] = pick(random, places);
  const change = random.below(10);
  if (change < 6 || holder === root) {
    holder[key] = hostile(random, elsewhere);
  } else if (change === 6) {
    if (Array.isArray(holder)) holder.splice(Number(key), 1);
    else delete holder[key];
  } else if (change === 7) {
    const [other, otherKey] = pick(random, places);
    const value = other[otherKey];
    // A copy: what is moved into itself would have no end.
    holder[key] = value === undefined || other === root ? null : copied(value);
  } else if (change === 8) {
    if (Array.isArray(holder)) holder.push(holder[Number(key)]);
    else holder[pick(random, [`${key} `, key.toString().toUpperCase(), '__proto__x', '\u0000'])] = holder[key];
  } else if (!Array.isArray(holder)) {
    // Written twice: the second stands after the first.
    holder[`${key}\u0001twice`] = hostile(random, elsewhere);
  }
}

function placesOf(root: Holder): [Holder, string | number][] {
  const places: [Holder, string | number][] = [];
  const walk = (holder: Holder) => {
    for (const key of Object.keys(holder)) {
      places.push([holder, key]);
      const value = holder[key];
      if (value !== null && typeof value === 'object' && !(value instanceof Raw)) walk(value as Holder);
    }
  };
  walk(root);
  return places;
}

function copied(value: unknown): unknown {
  if (value === null || typeof value !== 'object' || value instanceof Raw) return value;
  if (Array.isArray(value)) return value.map(copied);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, copied(inner)]));
}

function write(value: unknown): string {
  if (value instanceof Raw) return value.json;
  if (Array.isArray(value)) return `[${value.map(write).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null';
  const entries = Object.entries(value).map(([key, inner]) => {
    return `${JSON.stringify(key.replace('\u0001twice', ''))}:${write(inner)}`;
  });
  return `{${entries.join(',')}}`;
}

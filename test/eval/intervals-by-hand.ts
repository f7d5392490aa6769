import { Generator, Purpose } from '../../src/random/generator.js';

/** Sums a column over the contexts of a resample. */
export type Sum = (column: readonly number[]) => number;

/** 95 % bootstrap intervals the slow way: every resample a list of contexts, every sum computed again. */
export function intervalsByHand<Name extends string>(
  contexts: number,
  statistic: (sum: Sum) => Record<Name, number>,
  { resamples = 2000, seed = 0 } = {},
): Record<Name, [number, number]> {
  const random = new Generator(seed, Purpose.bootstrap);
  const values = Array.from({ length: resamples }, () => {
    const drawn = Array.from({ length: contexts }, () => random.below(contexts));
    return statistic((column) => drawn.reduce((sum, context) => sum + column[context]!, 0));
  });
  const at = (sorted: number[], q: number) => {
    const place = q * (sorted.length - 1);
    const [below, above] = [sorted[Math.floor(place)]!, sorted[Math.ceil(place)]!];
    return below + (above - below) * (place - Math.floor(place));
  };
  const names = Object.keys(values[0]!) as Name[];
  return Object.fromEntries(
    names.map((name) => {
      const sorted = values.map((value) => value[name]).sort((a, b) => a - b);
      return [name, [at(sorted, 0.025), at(sorted, 0.975)]];
    }),
  ) as Record<Name, [number, number]>;
}

import type { Generator } from '../../../src/random/generator.js';

/** One of the list, each as likely as the others. */
export function pick<T>(random: Generator, list: readonly T[]): T {
  return list[random.below(list.length)]!;
}

/** True once in `n` times. */
export function oneIn(random: Generator, n: number): boolean {
  return random.below(n) === 0;
}

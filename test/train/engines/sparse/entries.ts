import type { Generator } from '../../../../src/random/generator.js';

/** Entries of a sparse [features, tokens] matrix, feature-major; tokens ascend within a feature. */
export interface Entries {
  readonly entryStart: Uint32Array;
  readonly token: Uint32Array;
  readonly p: Float32Array;
  readonly count: number;
}

/** Kernels write an entry before they know whether it stays; the engine's arrays have room for it, and so do these. */
export const ROOM = 16;

/** Every feature has each token with probability `density(feature)`. */
export function randomEntries(
  random: Generator,
  features: number,
  B: number,
  density: (feature: number) => number,
  p: () => number,
): Entries {
  const lists = Array.from({ length: features }, (_, j) =>
    Array.from({ length: B }, (_, b) => b).filter(() => random.uniform() < density(j)),
  );
  const count = lists.flat().length;
  const entryStart = new Uint32Array(features + 1);
  lists.forEach((list, j) => {
    entryStart[j + 1] = entryStart[j]! + list.length;
  });
  const token = new Uint32Array(count + ROOM);
  token.set(lists.flat());
  const values = new Float32Array(count + ROOM);
  for (let k = 0; k < count; k++) values[k] = p();
  return { entryStart, token, p: values, count };
}

/** Sizes that meet every tail: one feature or token, empty features, full ones, and all between. */
export const PATTERNS = [
  { features: 1, B: 1, dIn: 16, density: () => 1 },
  { features: 1, B: 7, dIn: 5, density: () => 1 },
  { features: 6, B: 1, dIn: 35, density: (j: number) => j % 2 },
  { features: 9, B: 13, dIn: 16, density: () => 1 },
  { features: 12, B: 37, dIn: 50, density: (j: number) => [0, 0.05, 0.1, 0.3, 1, 0.2][j % 6]! },
  { features: 30, B: 20, dIn: 18, density: (j: number) => (j % 3 === 0 ? 0 : 0.12) },
  { features: 5, B: 16, dIn: 16, density: () => 0 },
] as const;

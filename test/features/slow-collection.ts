import { exampleHash } from '../../src/features/tally.js';

/** An example as the plain scan has it. */
export interface SlowExample {
  readonly band: number;
  readonly rank: number;
  readonly value: number;
  readonly context: number;
  readonly position: number;
  readonly activations: readonly number[];
}

/** What the plain scan finds of one feature. */
export interface SlowFeature {
  readonly activeTokens: number;
  readonly sum: number;
  readonly max: number;
  /** Counts by ⌊4 log₂ f⌋. */
  readonly histogram: ReadonlyMap<number, number>;
  readonly examples: readonly SlowExample[];
}

/** A context whose f is known at every position, [positions × dSae]; those that are not `counted` are only shown. */
export interface SlowContext {
  readonly index: number;
  readonly f: Float32Array;
  readonly counted: readonly boolean[];
}

/** ⌊4 log₂ f⌋ by comparing with the bounds, which are not float32 except for powers of two. */
function quarterOf(f: number): number {
  let quarter = Math.round(4 * Math.log2(f));
  while (f < 2 ** (quarter / 4)) quarter--;
  while (f >= 2 ** ((quarter + 1) / 4)) quarter++;
  return quarter;
}

/** All of it at once, in plain lists: what `Tally` must equal. */
export function slowFeature(
  contexts: readonly SlowContext[],
  [feature, dSae]: readonly [number, number],
  { topK, window: [before, after] }: { topK: number; window: readonly [number, number] },
): SlowFeature {
  const histogram = new Map<number, number>();
  let [activeTokens, sum, max] = [0, 0, 0];
  const peaks: Omit<SlowExample, 'band' | 'rank'>[] = [];
  for (const { index, f, counted } of contexts) {
    const column = counted.map((_, t) => f[t * dSae + feature]!);
    let peak = -1;
    for (const [t, value] of column.entries()) {
      if (!counted[t] || value <= 0) continue;
      activeTokens++;
      sum += value;
      max = Math.max(max, value);
      histogram.set(quarterOf(value), (histogram.get(quarterOf(value)) ?? 0) + 1);
      if (peak < 0 || value > column[peak]!) peak = t;
    }
    if (peak < 0) continue;
    const activations = Array.from({ length: before + 1 + after }, (_, i) => column[peak - before + i] ?? 0);
    peaks.push({ value: column[peak]!, context: index, position: peak, activations });
  }
  peaks.sort((a, b) => b.value - a.value || a.context - b.context);
  const octave = ({ value }: { value: number }) => Math.floor(quarterOf(value) / 4);
  const bands = Array.from({ length: 5 }, (_, i) => {
    const inside = peaks.filter((peak) => octave(peak) === octave(peaks[0]!) - i);
    const hashes = inside.map(({ context }) => exampleHash(context, feature)).sort((a, b) => a - b);
    return inside.filter(({ context }) => hashes.indexOf(exampleHash(context, feature)) < 5);
  });
  const examples = [peaks.slice(0, topK), ...bands].flatMap((group, band) =>
    group.map((peak, rank) => ({ band, rank, ...peak })),
  );
  return { activeTokens, sum, max, histogram, examples };
}

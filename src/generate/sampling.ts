import { Generator, Purpose } from '../random/generator.js';

/** How a token is chosen from logits. */
export interface SamplingSettings {
  /** 0: the most probable token; otherwise the divisor of the logits. */
  readonly temperature: number;
  /** Only the k most probable tokens; undefined: all. */
  readonly topK?: number;
  /** The smallest set of most probable tokens whose probabilities, renormalised after top-k, add up to p. */
  readonly topP?: number;
  readonly seed: number;
}

/** Chooses the next token id of a text from the logits [vocabulary]. */
export type ChooseToken = (logits: Float32Array) => number;

/**
 * A sampler for one text; the same seed and number give the same choices, whatever other texts are in the batch.
 *
 * @param text number of the text in the command
 */
export function tokenChooser(settings: SamplingSettings, text: number): ChooseToken {
  if (settings.temperature === 0) return mostProbable;
  const random = new Generator(settings.seed, Purpose.sampling, text);
  return (logits) => sampled(logits, settings, random.uniform());
}

/** The token with the largest logit; ties go to the first. */
function mostProbable(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id]! > logits[best]!) best = id;
  return best;
}

/** @param u uniform in [0, 1) */
function sampled(logits: Float32Array, { temperature, topK, topP }: SamplingSettings, u: number): number {
  const largest = logits[mostProbable(logits)]!;
  const weight = (id: number) => Math.exp((logits[id]! - largest) / temperature);
  if (topK === undefined && topP === undefined) {
    return drawn(logits.length, (id) => id, weight, u);
  }
  const ids = topK === undefined ? nucleus(logits, weight, topP!) : largestIds(logits, topK);
  const kept = topK !== undefined && topP !== undefined ? withinShare(ids, weight, sumOf(ids, weight), topP) : ids;
  return drawn(kept.length, (i) => kept[i]!, weight, u);
}

/** The first of `count` tokens at which the cumulative weight exceeds the share u of the total. */
function drawn(count: number, idOf: (i: number) => number, weight: (id: number) => number, u: number): number {
  let total = 0;
  for (let i = 0; i < count; i++) total += weight(idOf(i));
  let left = u * total;
  for (let i = 0; i < count; i++) {
    left -= weight(idOf(i));
    if (left < 0) return idOf(i);
  }
  return idOf(count - 1);
}

const sumOf = (ids: readonly number[], weight: (id: number) => number) => ids.reduce((sum, id) => sum + weight(id), 0);

/** The shortest prefix of `ids`, which are sorted by descending probability, that reaches the share p. */
function withinShare(ids: readonly number[], weight: (id: number) => number, total: number, p: number): number[] {
  let sum = 0;
  const end = ids.findIndex((id) => {
    sum += weight(id);
    return sum >= p * total;
  });
  return ids.slice(0, end < 0 ? ids.length : end + 1);
}

/** Candidates sorted at first: most texts need no more. */
const FIRST_CANDIDATES = 256;

/** The smallest set of most probable tokens whose probabilities add up to p. */
function nucleus(logits: Float32Array, weight: (id: number) => number, p: number): number[] {
  let total = 0;
  for (let id = 0; id < logits.length; id++) total += weight(id);
  for (let count = FIRST_CANDIDATES; ; count *= 8) {
    const ids = largestIds(logits, count);
    const kept = withinShare(ids, weight, total, p);
    if (kept.length < ids.length || ids.length === logits.length) return kept;
  }
}

/** The tokens with the `count` largest values, descending; ties go to the lower id. */
export function largestIds(values: Float32Array, count: number): number[] {
  const ranked = (a: number, b: number) => values[b]! - values[a]! || a - b;
  if (count >= values.length / 4) return Array.from(values.keys()).sort(ranked).slice(0, count);
  // Everything not below the smallest kept value is kept; sorted once there are twice as many.
  let kept: number[] = [];
  let least = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < values.length; id++) {
    if (kept.length >= count && !(values[id]! > least)) continue;
    kept.push(id);
    if (kept.length < 2 * count) continue;
    kept = kept.sort(ranked).slice(0, count);
    least = values[kept.at(-1)!]!;
  }
  return kept.sort(ranked).slice(0, count);
}

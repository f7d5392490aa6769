/** Nats per token that removing a site must cost for loss recovered to mean something: 1 % of perplexity. */
export const LEAST_GAP = 0.01;

/** Standard errors that this cost must be away from 0: a ratio's denominator is then known to a tenth. */
export const GAP_ERRORS = 10;

/** Standard errors that Σ x̂·x must be above 0 for γ: below, resamples of it change their sign. */
export const PRODUCT_ERRORS = 3;

/**
 * Standard error of the ratio Σ sums / Σ weights over contexts, linearised; that of the bootstrap but for terms of 1 / C.
 *
 * @returns NaN with fewer than two contexts
 */
export function standardError(sums: readonly number[], weights: readonly number[]): number {
  const contexts = sums.length;
  if (contexts < 2) return Number.NaN;
  const weight = total(weights);
  const mean = total(sums) / weight;
  const squares = sums.reduce((sum, value, c) => sum + (value - mean * weights[c]!) ** 2, 0);
  return Math.sqrt((contexts / (contexts - 1)) * squares) / weight;
}

/**
 * Why loss recovered has no value at a site, in a sentence without its full stop; undefined where it has one.
 *
 * @param ablated losses with the activation replaced, summed by context
 * @param clean losses of the model as it is
 * @param tokens counted positions of each context
 * @param by what the activation is replaced by
 */
export function noLossRecovered(
  ablated: readonly number[],
  clean: readonly number[],
  tokens: readonly number[],
  by: '0' | 'its mean',
): string | undefined {
  const gaps = ablated.map((loss, c) => loss - clean[c]!);
  const gap = total(gaps) / total(tokens);
  const error = standardError(gaps, tokens);
  const uncertain = Number.isNaN(error)
    ? ''
    : `, with a standard error of ${short(error)} over ${gaps.length} contexts`;
  const change = gap < 0 ? 'lowers' : 'raises';
  const cost = `replacing the activation by ${by} ${change} the loss by ${short(Math.abs(gap))} nats per token${uncertain}`;
  if (gap < 0) return `${cost}: on this text there is no loss to recover at this site`;
  if (!(gap >= LEAST_GAP)) return `${cost}: the site does not matter to the loss on this text`;
  // With one context there is no standard error to compare with.
  if (gap < GAP_ERRORS * error) return `${cost}, which is too uncertain to divide by; evaluate more tokens`;
  return undefined;
}

/** Why γ has no value, as noLossRecovered; of Σ x̂·x by context. */
export function noBias(products: readonly number[], tokens: readonly number[]): string | undefined {
  const product = total(products);
  const error = standardError(products, tokens) * total(tokens);
  if (product > 0 && !(product < PRODUCT_ERRORS * error)) return undefined;
  return 'the reconstruction has no component along the activation, or none that differs from 0';
}

const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
const short = (value: number) => String(Number(value.toPrecision(2)));

import { beginContext } from './context-sums.js';
import type { Pass } from './pass.js';
import { binsOfPositions } from './position-bins.js';
import { saeOutputs, type Variants } from './splice-graph.js';
import type { SaeSums, SiteSums } from './sums.js';

/** Where a counted position is added: its entry of the sums by context, and its bin by position. */
interface Place {
  readonly context: number;
  readonly bin: number;
}

/** Begins an entry of the sums for every context of a pass that has a counted position; a place for each of these. */
export function openContexts(pass: Pass, context: number, site: SiteSums, saes: readonly SaeSums[]): Place[] {
  const u = pass.data('u');
  const width = u.length / pass.contexts;
  const bins = binsOfPositions(context);
  let last = -1;
  return pass.rows.map((row) => {
    const index = Math.floor(row / context);
    if (index !== last) {
      for (const { byContext } of [site, ...saes]) beginContext(byContext);
      site.u.push(u.slice(index * width, (index + 1) * width));
    }
    last = index;
    return { context: site.byContext.tokens.length - 1, bin: bins[row % context]! };
  });
}

/** Adds what a pass measured to the sums of its site and of every SAE. */
export function addPass(
  pass: Pass,
  places: readonly Place[],
  variants: Variants,
  site: SiteSums,
  saes: readonly SaeSums[],
): void {
  const { counted, data, loss } = pass;
  const nll = data('nll');
  const nllOf = (variant: number, i: number) => loss(nll, variant, variants.count, i);
  const [squared, spread] = [data('x_squared'), data('spread')];
  for (const [i, { context, bin }] of places.entries()) {
    const { byContext, byPosition } = site;
    const [clean, zero] = [nllOf(variants.clean, i), nllOf(variants.zero, i)];
    byContext.tokens[context]! += 1;
    byContext.nllClean[context]! += clean;
    byContext.nllZero[context]! += zero;
    if (variants.mean !== null) byContext.nllMean[context]! += nllOf(variants.mean, i);
    byContext.spread[context]! += spread[counted[i]!]!;
    byPosition.tokens[bin]! += 1;
    byPosition.nllClean[bin]! += clean;
    byPosition.nllZero[bin]! += zero;
  }
  for (const [k, { byContext, byPosition, active, l0, slope }] of saes.entries()) {
    const names = saeOutputs(k);
    const kl = data('kl');
    const [reconstructions, products, errors] = [data(names.reconstruction), data(names.product), data(names.error)];
    const l0s = data(names.l0);
    for (const [i, { context, bin }] of places.entries()) {
      const at = counted[i]!;
      const [reconstruction, product, error] = [reconstructions[at]!, products[at]!, errors[at]!];
      const spliced = nllOf(variants.firstSae + k, i);
      byContext.nllSpliced[context]! += spliced;
      byContext.kl[context]! += loss(kl, k, saes.length, i);
      byContext.l0[context]! += l0s[at]!;
      byContext.reconstruction[context]! += reconstruction;
      byContext.product[context]! += product;
      byContext.error[context]! += error;
      byContext.cosine[context]! += orZero(product / Math.sqrt(squared[at]! * reconstruction));
      byContext.normRatio[context]! += orZero(Math.sqrt(reconstruction / squared[at]!));
      byContext.relativeError[context]! += error / spread[at]!;
      byContext.curvature[context]! += error / spread[at]! ** 2;
      l0[l0s[at]!]! += 1;
      byPosition[bin]! += spliced;
    }
    addTo(active, data(names.active));
    addTo(slope, data(names.slope));
  }
}

function addTo(sums: Float64Array, values: Float32Array): void {
  for (const [i, value] of values.entries()) sums[i]! += value;
}

/** The value, or 0 for what a token without a norm has: no direction, and no ratio. */
function orZero(value: number): number {
  return Number.isFinite(value) ? value : 0;
}

import type { ChangeOfSae } from '../sae/feature-changes.js';
import { changedOutput } from './changed-features.js';
import { bootstrapIntervals } from './metrics.js';
import type { ChangedFeatures } from './record.js';
import type { Variants } from './splice-graph.js';
import type { Pass } from './splice-pass.js';
import { type ContextSums, newContextSums, type SiteSums, totalsOf } from './sums.js';

/** Sums over the counted positions of each context: loss, KL, and positions at which a feature changed. */
type ChangedSums = ContextSums<'nll' | 'kl' | 'changed'>;

/** Losses with features of SAEs changed; accumulated over passes. */
export class ChangedLosses {
  private readonly sums: readonly (ChangedSums | null)[];

  /** @param changes for each SAE; null: none of its features are changed */
  constructor(private readonly changes: readonly (ChangeOfSae | null)[]) {
    this.sums = changes.map((own) => own && newContextSums(['nll', 'kl', 'changed']));
  }

  /** Sums that get one entry per context. */
  get columns(): ContextSums<string>[] {
    return this.sums.filter((own) => own !== null);
  }

  /** Adds the results of a pass; `places` locates its positions. */
  add(
    { counted, data, loss }: Pass,
    places: readonly { readonly context: number }[],
    { firstSae, firstChanged, count }: Variants,
  ): void {
    let variant = firstChanged;
    for (const [k, own] of this.sums.entries()) {
      if (own === null) continue;
      const [nll, kl, changed] = [data('nll'), data('kl'), data(changedOutput(k))];
      for (const [i, { context }] of places.entries()) {
        own.nll[context]! += loss(nll, variant, count, i);
        own.kl[context]! += loss(kl, variant - firstSae, count - firstSae, i);
        own.changed[context]! += changed[counted[i]!]!;
      }
      variant++;
    }
  }

  /** The first SAE whose changes give non-finite losses in contexts from number `from` on; −1 if none. */
  notFinite(from: number): number {
    const finite = (column: readonly number[]) => column.slice(from).every(Number.isFinite);
    return this.sums.findIndex((own) => own !== null && !(finite(own.nll) && finite(own.kl) && finite(own.changed)));
  }

  /** The metrics of record.ts for SAE k; null if none of its features are changed. */
  metrics({ byContext }: SiteSums, k: number): ChangedFeatures | null {
    const [own, changes] = [this.sums[k], this.changes[k]];
    if (!own || !changes) return null;
    const all = { ...own, tokens: byContext.tokens, clean: byContext.nllClean };
    const statistic = ({ nll, clean, kl, tokens }: Record<keyof typeof all, number>) => ({
      ce: nll / tokens,
      delta_ce: (nll - clean) / tokens,
      kl: kl / tokens,
    });
    const totals = totalsOf(all);
    return {
      features: changes.features.length,
      tokens: totals.changed,
      ...statistic(totals),
      intervals: bootstrapIntervals(all, statistic),
    };
  }
}

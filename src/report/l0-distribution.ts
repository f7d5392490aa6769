import { line } from '@observablehq/plot';
import { bySite } from './by-site.js';
import { attributed } from './chart.js';
import { logDomain, logTicks } from './domains.js';
import type { Entry } from './entries.js';
import { compact, listed } from './format.js';
import type { Markup } from './markup.js';
import { lineColour } from './styles.js';

interface Step {
  l0: number;
  /** Share of the counted positions with at most so many active features (%). */
  share: number;
  entry: Entry;
}

/**
 * The distribution function of L0, at the largest number of each bin: unlike a histogram's its height does not depend
 * on the bins' width, so that SAEs can be compared.
 */
export function distribution(entry: Entry): Step[] {
  const { edges, counts } = entry.record.l0_histogram!;
  const total = counts.reduce((sum, count) => sum + count, 0);
  let below = 0;
  return counts.map((count, i) => {
    below += count;
    return { l0: edges[i + 1]! - 1, share: (100 * below) / total, entry };
  });
}

/** On how many tokens at most how many features are active, a panel a site; null without data. */
export function l0DistributionFigure(entries: readonly Entry[], id: string): Markup | null {
  const measured = entries.filter(({ record }) => record.l0_histogram?.counts.some((count) => count > 0));
  if (measured.length === 0) return null;
  const panel = (site: readonly Entry[]) => {
    // No active feature has no place on a log axis.
    const steps = site.flatMap(distribution).filter(({ l0 }) => l0 > 0);
    const rising = steps.filter(({ share }) => share > 0.5 && share < 99.5).map(({ l0 }) => l0);
    const domain = logDomain(rising, 0.04);
    return {
      x: { type: 'log', domain, ticks: logTicks(domain, 7), tickFormat: compact },
      y: { domain: [0, 100] },
      marks: [
        line(steps, {
          x: 'l0',
          y: 'share',
          z: ({ entry }: Step) => entry.index,
          stroke: { value: ({ entry }: Step) => lineColour(entry), scale: null },
          strokeOpacity: { value: ({ entry }: Step) => entry.strength, scale: null },
          strokeWidth: 1.4,
          clip: true,
          title: ({ entry }: Step) => entry.name,
          ...attributed(steps, ({ entry }) => ({ 'data-sae': entry.index, 'data-mark': 'distribution' })),
        }),
      ],
    };
  };
  return bySite(measured, {
    id,
    title: 'Distribution of L0 over tokens',
    description: `Share of tokens with at most so many active features, for ${listed(measured.map(({ fullName }) => fullName))}.`,
    x: 'Active features',
    y: 'Tokens with at most so many (%)',
    panel,
  });
}

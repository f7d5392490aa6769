import { line } from '@observablehq/plot';
import { bySite } from './by-site.js';
import { attributed } from './chart.js';
import { extent, padded } from './domains.js';
import type { Entry } from './entries.js';
import { listed } from './format.js';
import type { Markup } from './markup.js';
import { lineColour } from './styles.js';

type Loss = 'ce_clean' | 'ce_spliced' | 'ce_zero';

interface PositionPoint {
  position: number;
  loss: number;
  entry: Entry;
}

/** The losses of one variant at the middles of their bins; NaN, a gap, where a bin has no counted position. */
function pointsOf(entry: Entry, loss: Loss): PositionPoint[] {
  const found = entry.record.loss_by_position;
  if (found === undefined) return [];
  // The last position of a bin is one before its upper edge.
  return found[loss].map((value, i) => ({
    position: (found.edges[i]! + found.edges[i + 1]! - 1) / 2,
    loss: value,
    entry,
  }));
}

/** Losses of the clean, spliced and zero-ablated model by place in the context, a panel a site; null without data. */
export function lossByPositionFigure(entries: readonly Entry[], id: string): Markup | null {
  const measured = entries.filter(({ record }) => record.loss_by_position !== undefined);
  if (measured.length === 0) return null;
  const panel = (site: readonly Entry[]) => {
    const clean = pointsOf(site[0]!, 'ce_clean');
    const zero = pointsOf(site[0]!, 'ce_zero');
    const spliced = site.flatMap((entry) => pointsOf(entry, 'ce_spliced'));
    const reach = extent([...clean, ...spliced].map(({ loss }) => loss)) ?? [0, 1];
    const along = { x: 'position', y: 'loss', clip: true } as const;
    return {
      x: { domain: [0, extent(clean.map(({ position }) => position))?.[1] ?? 1], nice: true },
      y: { domain: padded(reach, 0.08) },
      marks: [
        line(zero, { ...along, strokeDasharray: '1 3', ...attributed(zero, () => ({ 'data-mark': 'zero' })) }),
        line(spliced, {
          ...along,
          z: ({ entry }: PositionPoint) => entry.index,
          stroke: { value: ({ entry }: PositionPoint) => lineColour(entry), scale: null },
          strokeOpacity: { value: ({ entry }: PositionPoint) => entry.strength, scale: null },
          title: ({ entry }: PositionPoint) => entry.name,
          ...attributed(spliced, ({ entry }) => ({ 'data-sae': entry.index, 'data-mark': 'spliced' })),
        }),
        line(clean, { ...along, strokeDasharray: '5 3', ...attributed(clean, () => ({ 'data-mark': 'clean' })) }),
      ],
    };
  };
  return bySite(measured, {
    id,
    title: 'Loss by position',
    description: `Cross-entropy by place in the context, for ${listed(measured.map(({ fullName }) => fullName))}.`,
    x: 'Position in the context (BOS at 0)',
    y: 'Cross-entropy (nats a token)',
    panel,
    more: [{ label: 'clean model', style: null, faint: true, sign: 'line' }],
  });
}

import { line, type Markish, rect } from '@observablehq/plot';
import { listed } from '../config/suggest.js';
import { hasNoBos } from '../eval/record.js';
import { AXIS_LINES, attributed, type Box, drawn, FIGURE_WIDTH, FONT, figureSvg, fitted, titles } from './chart.js';
import { distinct, type Entry, families } from './entries.js';
import { type KeyItem, key, lineColour, styleColour } from './family-styles.js';
import { compact, counted, extent, integer, logDomain, logTicks, paddedDomain, percent } from './numbers-and-axes.js';
import { type Markup, markup } from './page.js';

const DENSITY_HEIGHT = 158;
/** Space for the name of a hook above its panels. */
const DENSITY_HEADING = 32;
const DENSITY_MARGIN = { marginLeft: 40, marginRight: 8, marginTop: 40, marginBottom: 24 };

/** Left end of the shared x axis: below the rarest feature of any SAE, an integer power of ten. */
function leastLog10(entries: readonly Entry[]): number {
  const lowest = entries.flatMap(({ record: { density_histogram: histogram } }) => {
    const first = histogram.counts.findIndex((count) => count > 0);
    return first < 0 ? [] : [histogram.log10_edges[first]!];
  });
  return Math.min(-1, Math.floor(Math.min(0, ...lowest)));
}

function share(part: number, whole: number): string {
  return whole > 0 ? `, ${percent(part / whole, 1)} %` : '';
}

/** Non-empty bins. */
function barsOf({ record, index }: Entry) {
  const { log10_edges: edges, counts } = record.density_histogram;
  return counts.flatMap((count, k) => {
    const [from, to] = [edges[k]!, edges[k + 1]!];
    const tip = `${counted(count, 'feature')} with log₁₀ density ${edges[k]!.toFixed(2)} to ${edges[k + 1]!.toFixed(2)}`;
    return count === 0 ? [] : [{ from, to, count, tip, index }];
  });
}

/** The histogram of one SAE; `low` and `most` are the limits of the shared axes. */
function densityPanel(
  id: string,
  entry: Entry,
  box: Box,
  [low, most]: readonly [number, number],
  last: boolean,
): Markup {
  const { record, style, label } = entry;
  const bars = barsOf(entry);
  const { dead } = record.density_histogram;
  return drawn(id, box, {
    ...DENSITY_MARGIN,
    x: { domain: [low, 0], label: null, ticks: Math.min(6, -low), tickFormat: 'd' },
    y: { domain: [0, most * 1.04], label: null, ticks: 3, grid: true, tickFormat: compact },
    marks: [
      rect(bars, {
        x1: 'from',
        x2: 'to',
        y1: 0,
        y2: 'count',
        fill: styleColour(style),
        fillOpacity: 0.8,
        title: 'tip',
        ...attributed(bars, ({ index }) => ({ 'data-sae': index, 'data-mark': 'bar' })),
      }),
      AXIS_LINES,
      titles({
        heading: fitted(label, FONT.title, box.width - 16),
        y: `Features (${integer(dead)} dead${share(dead, record.d_sae)})`,
        x: last ? 'log₁₀ density' : undefined,
        left: DENSITY_MARGIN.marginLeft - 4,
      }),
    ],
  });
}

/** The density figure: number of features (y) by density (log10, x); one panel per SAE, all on the same axes. */
export function densityFigure(entries: readonly Entry[], id: string): Markup {
  const columns = entries.length <= 3 ? 3 : 4;
  const width = FIGURE_WIDTH / columns;
  const low = leastLog10(entries);
  const most = Math.max(1, ...entries.flatMap(({ record }) => record.density_histogram.counts));
  const sites = distinct(entries.map(({ site }) => site));
  const heading = sites.length > 1 ? DENSITY_HEADING : 0;
  let top = 0;
  const blocks = sites.map((site) => {
    const own = entries.filter((entry) => entry.site === site);
    const from = top + heading;
    top = from + Math.ceil(own.length / columns) * DENSITY_HEIGHT + 18;
    const panels = own.map((entry, i) => {
      const box: Box = {
        x: (i % columns) * width,
        y: from + Math.floor(i / columns) * DENSITY_HEIGHT,
        width,
        height: DENSITY_HEIGHT,
      };
      // The last panel of each column has the axis title.
      return densityPanel(`${id}-${entry.index}`, entry, box, [low, most], i + columns >= own.length);
    });
    if (heading === 0) return panels;
    const name = fitted(site, FONT.title, FIGURE_WIDTH);
    return [
      markup`<text x="0" y="${from - 10}" font-size="${FONT.title}" font-weight="600" fill="currentColor">${name}</text>`,
      panels,
    ];
  });
  const mostColumns = Math.min(
    columns,
    Math.max(...sites.map((site) => entries.filter((e) => e.site === site).length)),
  );
  return figureSvg(
    {
      width: mostColumns * width,
      height: top,
      id,
      title: 'Feature density',
      description: entries
        .map(
          ({ fullName, record }) =>
            `${fullName}: ${counted(record.density_histogram.dead, 'dead feature')} of ${integer(record.d_sae)}.`,
        )
        .join(' '),
    },
    markup`${blocks}`,
  );
}

interface L0Step {
  l0: number;
  /** Cumulative share of the counted positions, by number of active features (%). */
  share: number;
  entry: Entry;
}

/**
 * The distribution function of L0, evaluated at the largest number of each bin: unlike a histogram's, its height does
 * not depend on the bin width, so that SAEs can be compared.
 */
export function distribution(entry: Entry): L0Step[] {
  const { edges, counts } = entry.record.l0_histogram!;
  const total = counts.reduce((sum, count) => sum + count, 0);
  let below = 0;
  return counts.map((count, i) => {
    below += count;
    return { l0: edges[i + 1]! - 1, share: (100 * below) / total, entry };
  });
}

/** Cumulative share of tokens by number of active features, one panel per hook; null without data. */
export function l0DistributionFigure(entries: readonly Entry[], id: string): Markup | null {
  const measured = entries.filter(({ record }) => record.l0_histogram?.counts.some((count) => count > 0));
  if (measured.length === 0) return null;
  const panel = (site: readonly Entry[]) => {
    // Zero active features do not fit on a log axis.
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
          z: ({ entry }: L0Step) => entry.index,
          stroke: { value: ({ entry }: L0Step) => lineColour(entry), scale: null },
          strokeOpacity: { value: ({ entry }: L0Step) => entry.strength, scale: null },
          strokeWidth: 1.4,
          clip: true,
          title: ({ entry }: L0Step) => entry.name,
          ...attributed(steps, ({ entry }) => ({ 'data-sae': entry.index, 'data-mark': 'distribution' })),
        }),
      ],
    };
  };
  return bySite(measured, {
    id,
    title: 'Distribution of L0 over tokens',
    description: `Cumulative share of tokens by number of active features, for ${listed(measured.map(({ fullName }) => fullName))}.`,
    x: 'Active features',
    y: 'Cumulative share of tokens (%)',
    panel,
  });
}

type LossKey = 'ce_clean' | 'ce_spliced' | 'ce_zero';

interface PositionPoint {
  position: number;
  loss: number;
  entry: Entry;
}

/** The losses of one variant at the midpoints of their bins; NaN (a gap) for a bin without counted positions. */
function lossPoints(entry: Entry, loss: LossKey): PositionPoint[] {
  const found = entry.record.loss_by_position;
  if (found === undefined) return [];
  // The last position of a bin is one less than its upper edge.
  return found[loss].map((value, i) => ({
    position: (found.edges[i]! + found.edges[i + 1]! - 1) / 2,
    loss: value,
    entry,
  }));
}

/**
 * Losses of the clean, spliced and zero-ablated model by position in the context, one panel per hook; null without
 * data.
 */
export function lossByPositionFigure(entries: readonly Entry[], id: string): Markup | null {
  const measured = entries.filter(({ record }) => record.loss_by_position !== undefined);
  if (measured.length === 0) return null;
  const panel = (site: readonly Entry[]) => {
    const clean = lossPoints(site[0]!, 'ce_clean');
    const zero = lossPoints(site[0]!, 'ce_zero');
    const spliced = site.flatMap((entry) => lossPoints(entry, 'ce_spliced'));
    const reach = extent([...clean, ...spliced].map(({ loss }) => loss)) ?? [0, 1];
    const along = { x: 'position', y: 'loss', clip: true } as const;
    return {
      x: { domain: [0, extent(clean.map(({ position }) => position))?.[1] ?? 1], nice: true },
      y: { domain: paddedDomain(reach, 0.08) },
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
    description: `Cross-entropy by position in the context, for ${listed(measured.map(({ fullName }) => fullName))}.`,
    x: measured.some(({ record }) => hasNoBos(record))
      ? 'Position in the context'
      : 'Position in the context (BOS at 0)',
    y: 'Cross-entropy (nats per token)',
    panel,
    more: [{ label: 'clean model', style: null, faint: true, sign: 'line' }],
  });
}

/** A small line figure, one panel per hook. */
interface BySite {
  id: string;
  title: string;
  description: string;
  x: string;
  y: string;
  /** Axes and marks of one panel. */
  panel: (entries: readonly Entry[]) => { x: object; y: object; marks: Markish[] };
  /** Additional lines in the legend. */
  more?: readonly KeyItem[];
}

const SITE_HEIGHT = 230;
const SITE_MARGIN = { marginLeft: 46, marginRight: 14, marginTop: 44, marginBottom: 46 };

/** Three panels per row, one per hook; colour shows the family, opacity the SAE's L0. */
function bySite(entries: readonly Entry[], what: BySite): Markup {
  const sites = distinct(entries.map(({ site }) => site));
  const columns = Math.min(sites.length, 3);
  const width = columns === 1 ? 560 : FIGURE_WIDTH / columns;
  const names = distinct(families(entries).map(([first]) => first!.family));
  const items = names.map((family) => ({
    label: family,
    style: entries.find((entry) => entry.family === family)!.style,
    sign: 'line' as const,
  }));
  const legend = key(`${what.id}-key`, [...items, ...(what.more ?? [])], columns * width);
  const top = legend.height + 8;
  const panels = sites.map((site, i) => {
    const box: Box = {
      x: (i % columns) * width,
      y: top + Math.floor(i / columns) * SITE_HEIGHT,
      width,
      height: SITE_HEIGHT,
    };
    const { x, y, marks } = what.panel(entries.filter((entry) => entry.site === site));
    return drawn(`${what.id}-${i}`, box, {
      ...SITE_MARGIN,
      marginTop: sites.length > 1 ? SITE_MARGIN.marginTop : 26,
      x: { label: null, ticks: 6, tickFormat: compact, ...x },
      y: { label: null, ticks: 4, grid: true, ...y },
      marks: [
        AXIS_LINES,
        marks,
        titles({
          heading: sites.length > 1 ? fitted(site, FONT.title, width - 4) : undefined,
          x: what.x,
          y: what.y,
          left: SITE_MARGIN.marginLeft - 4,
        }),
      ],
    });
  });
  const height = top + Math.ceil(sites.length / columns) * SITE_HEIGHT;
  return figureSvg(
    { width: columns * width, height, id: what.id, title: what.title, description: what.description },
    markup`${legend.svg}${panels}`,
  );
}

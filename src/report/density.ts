import { rect } from '@observablehq/plot';
import { AXIS_LINES, attributed, type Box, drawn, FONT, figureSvg, fitted, titles } from './chart.js';
import type { Entry } from './entries.js';
import { compact, counted, integer, percent } from './format.js';
import { type Markup, markup } from './markup.js';
import { colour } from './styles.js';

const WIDTH = 960;
const HEIGHT = 158;
const MARGIN = { marginLeft: 40, marginRight: 8, marginTop: 40, marginBottom: 24 };

/** Left edge of the shared x axis: below the rarest feature of any SAE, a whole power of ten. */
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

/** Bins that hold a feature. */
function barsOf({ record, index }: Entry) {
  const { log10_edges: edges, counts } = record.density_histogram;
  return counts.flatMap((count, k) => {
    const [from, to] = [edges[k]!, edges[k + 1]!];
    const tip = `${counted(count, 'feature')} with log₁₀ density ${edges[k]!.toFixed(2)} to ${edges[k + 1]!.toFixed(2)}`;
    return count === 0 ? [] : [{ from, to, count, tip, index }];
  });
}

/** The density figure: how many features (y) fire on which share of positions (log10, x); a panel an SAE, all on the same axes. */
export function densityFigure(entries: readonly Entry[], id: string): Markup {
  const columns = entries.length <= 3 ? 3 : 4;
  const width = WIDTH / columns;
  const low = leastLog10(entries);
  const most = Math.max(1, ...entries.flatMap(({ record }) => record.density_histogram.counts));
  const rows = Math.ceil(entries.length / columns);
  const panels = entries.map((entry, i) => {
    const { record, style, label } = entry;
    const box: Box = { x: (i % columns) * width, y: Math.floor(i / columns) * HEIGHT, width, height: HEIGHT };
    const bars = barsOf(entry);
    const { dead } = record.density_histogram;
    // The last panel of each column has the axis's name.
    const last = i + columns >= entries.length;
    return drawn(`${id}-${i}`, box, {
      ...MARGIN,
      x: { domain: [low, 0], label: null, ticks: Math.min(6, -low), tickFormat: 'd' },
      y: { domain: [0, most * 1.04], label: null, ticks: 3, grid: true, tickFormat: compact },
      marks: [
        rect(bars, {
          x1: 'from',
          x2: 'to',
          y1: 0,
          y2: 'count',
          fill: colour(style),
          fillOpacity: 0.8,
          title: 'tip',
          ...attributed(bars, ({ index }) => ({ 'data-sae': index, 'data-mark': 'bar' })),
        }),
        AXIS_LINES,
        titles({
          heading: fitted(label, FONT.title, width - 16),
          y: `Features (${integer(dead)} dead${share(dead, record.d_sae)})`,
          x: last ? 'log₁₀ density' : undefined,
          left: MARGIN.marginLeft - 4,
        }),
      ],
    });
  });
  return figureSvg(
    {
      width: Math.min(entries.length, columns) * width,
      height: rows * HEIGHT + 18,
      id,
      title: 'Feature density',
      description: entries
        .map(
          ({ fullName, record }) =>
            `${fullName}: ${counted(record.density_histogram.dead, 'dead feature')} of ${integer(record.d_sae)}.`,
        )
        .join(' '),
    },
    markup`${panels}`,
  );
}

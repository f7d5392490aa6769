import { rect } from '@observablehq/plot';
import { AXIS_LINES, attributed, type Box, drawn, FONT, figureSvg, fitted, titles } from './chart.js';
import { distinct, type Entry } from './entries.js';
import { compact, counted, integer, percent } from './format.js';
import { type Markup, markup } from './markup.js';
import { colour } from './styles.js';

const WIDTH = 960;
const HEIGHT = 158;
/** Room for the name of a site above its panels. */
const HEADING = 32;
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

/** The histogram of one SAE; `low` and `most` are the ends of the axes that all share. */
function panel(id: string, entry: Entry, box: Box, [low, most]: readonly [number, number], last: boolean): Markup {
  const { record, style, label } = entry;
  const bars = barsOf(entry);
  const { dead } = record.density_histogram;
  return drawn(id, box, {
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
        heading: fitted(label, FONT.title, box.width - 16),
        y: `Features (${integer(dead)} dead${share(dead, record.d_sae)})`,
        x: last ? 'log₁₀ density' : undefined,
        left: MARGIN.marginLeft - 4,
      }),
    ],
  });
}

/** The density figure: how many features (y) fire on which share of positions (log10, x); a panel an SAE, all on the same axes. */
export function densityFigure(entries: readonly Entry[], id: string): Markup {
  const columns = entries.length <= 3 ? 3 : 4;
  const width = WIDTH / columns;
  const low = leastLog10(entries);
  const most = Math.max(1, ...entries.flatMap(({ record }) => record.density_histogram.counts));
  const sites = distinct(entries.map(({ site }) => site));
  const heading = sites.length > 1 ? HEADING : 0;
  let top = 0;
  const blocks = sites.map((site) => {
    const own = entries.filter((entry) => entry.site === site);
    const from = top + heading;
    top = from + Math.ceil(own.length / columns) * HEIGHT + 18;
    const panels = own.map((entry, i) => {
      const box: Box = { x: (i % columns) * width, y: from + Math.floor(i / columns) * HEIGHT, width, height: HEIGHT };
      // The last panel of each column has the axis's name.
      return panel(`${id}-${entry.index}`, entry, box, [low, most], i + columns >= own.length);
    });
    if (heading === 0) return panels;
    const name = fitted(site, FONT.title, WIDTH);
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

import type { Markish } from '@observablehq/plot';
import { AXIS_LINES, type Box, drawn, FONT, figureSvg, fitted, titles } from './chart.js';
import { distinct, type Entry, families } from './entries.js';
import { compact } from './format.js';
import { type KeyItem, key } from './key.js';
import { type Markup, markup } from './markup.js';

/** A small figure of lines, a panel a site. */
export interface BySite {
  id: string;
  title: string;
  description: string;
  x: string;
  y: string;
  /** Axes and marks of one panel. */
  panel: (entries: readonly Entry[]) => { x: object; y: object; marks: Markish[] };
  /** Lines of the key beside the families'. */
  more?: readonly KeyItem[];
}

const WIDTH = 960;
const HEIGHT = 230;
const MARGIN = { marginLeft: 46, marginRight: 14, marginTop: 44, marginBottom: 46 };

/** Three panels a row, one for each site; colours are the families', strength says which SAE's L0 is larger. */
export function bySite(entries: readonly Entry[], what: BySite): Markup {
  const sites = distinct(entries.map(({ site }) => site));
  const columns = Math.min(sites.length, 3);
  const width = columns === 1 ? 560 : WIDTH / columns;
  const names = distinct(families(entries).map(([first]) => first!.family));
  const items = names.map((family) => ({
    label: family,
    style: entries.find((entry) => entry.family === family)!.style,
    sign: 'line' as const,
  }));
  const legend = key(`${what.id}-key`, [...items, ...(what.more ?? [])], columns * width);
  const top = legend.height + 8;
  const panels = sites.map((site, i) => {
    const box: Box = { x: (i % columns) * width, y: top + Math.floor(i / columns) * HEIGHT, width, height: HEIGHT };
    const { x, y, marks } = what.panel(entries.filter((entry) => entry.site === site));
    return drawn(`${what.id}-${i}`, box, {
      ...MARGIN,
      marginTop: sites.length > 1 ? MARGIN.marginTop : 26,
      x: { label: null, ticks: 6, tickFormat: compact, ...x },
      y: { label: null, ticks: 4, grid: true, ...y },
      marks: [
        AXIS_LINES,
        marks,
        titles({
          heading: sites.length > 1 ? fitted(site, FONT.title, width - 4) : undefined,
          x: what.x,
          y: what.y,
          left: MARGIN.marginLeft - 4,
        }),
      ],
    });
  });
  const height = top + Math.ceil(sites.length / columns) * HEIGHT;
  return figureSvg(
    { width: columns * width, height, id: what.id, title: what.title, description: what.description },
    markup`${legend.svg}${panels}`,
  );
}

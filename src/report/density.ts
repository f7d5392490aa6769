import type { Entry } from './entries.js';
import { counted, integer, percent } from './format.js';
import { type Markup, markup } from './markup.js';
import { linearScale } from './scale.js';
import { axes, FONT, figureSvg, marker, textWidth } from './svg.js';

const LEFT = 60;
const CELL = { top: 42, height: 92, bottom: 24, gap: 26 };
const WIDTH = 960;

/** Left edge of the shared x axis: below the rarest feature of any SAE, a whole power of ten. */
function leastLog10(entries: readonly Entry[]): number {
  const lowest = entries.flatMap(({ record: { density_histogram: histogram } }) => {
    const first = histogram.counts.findIndex((count) => count > 0);
    return first < 0 ? [] : [histogram.log10_edges[first]!];
  });
  return Math.min(-1, Math.floor(Math.min(0, ...lowest)));
}

function share(part: number, whole: number): string {
  return whole > 0 ? ` (${percent(part / whole, 1)} %)` : '';
}

/** Figure 3: how many features (y) fire on which share of positions (log10, x); a panel an SAE, all on the same axes. */
export function densityFigure(entries: readonly Entry[]): Markup {
  const columns = Math.min(entries.length, entries.length <= 3 ? 3 : 4);
  const width = Math.min(WIDTH, LEFT + columns * 380);
  const plotWidth = (width - LEFT - 12 - (columns - 1) * CELL.gap) / columns;
  const low = leastLog10(entries);
  const most = Math.max(1, ...entries.flatMap(({ record }) => record.density_histogram.counts));
  const cellHeight = CELL.top + CELL.height + CELL.bottom;
  const wide = entries.some(({ label }) => textWidth(label, FONT.label) + 16 > plotWidth);
  const rows = Math.ceil(entries.length / columns);
  const panels = entries.map((entry, i) => {
    const { record, style, name, label } = entry;
    const column = i % columns;
    const left = LEFT + column * (plotWidth + CELL.gap);
    const top = Math.floor(i / columns) * cellHeight + CELL.top;
    const x = linearScale([low, 0], [left, left + plotWidth], Math.min(plotWidth / 40, -low));
    const y = linearScale([0, most * 1.04], [top + CELL.height, top], 4);
    const { log10_edges: edges, counts, dead } = record.density_histogram;
    const bars = counts.map((count, k) => {
      const [from, to] = [Math.max(low, edges[k]!), Math.min(0, edges[k + 1]!)];
      if (count === 0 || to <= from) return null;
      const tip = `${counted(count, 'feature')} with log₁₀ density ${edges[k]!.toFixed(2)} to ${edges[k + 1]!.toFixed(2)}`;
      const size = markup`width="${x(to) - x(from)}" height="${y(0) - y(count)}"`;
      return markup`<rect class="bar style-${style}" x="${x(from)}" y="${y(count)}" ${size}><title>${tip}</title></rect>`;
    });
    // The last panel of each column has the axis's name.
    const last = i + columns >= entries.length;
    const deadText = `${integer(dead)} dead${share(dead, record.d_sae)}`;
    return markup`<g>${axes(x, y, { yLabels: column === 0 })}</g><g data-sae="${entry.index}"><g opacity="0.8">${bars}</g>
${marker(left + 5, top - 24, style, name)}<text class="panel-title${wide ? ' small' : ''}" x="${left + 15}" y="${top - 20}">${label}</text>
<text class="note" x="${left + 15}" y="${top - 6}">${deadText}</text>
${last ? markup`<text class="axis-title middle" x="${left + plotWidth / 2}" y="${top + CELL.height + 34}">log₁₀ density</text>` : null}</g>`;
  });
  return figureSvg(
    {
      width,
      height: rows * cellHeight + 18,
      id: 'figure-3',
      title: 'Feature density',
      description: entries
        .map(
          ({ name, record }) =>
            `${name}: ${counted(record.density_histogram.dead, 'dead feature')} of ${integer(record.d_sae)}.`,
        )
        .join(' '),
    },
    [markup`<text class="end" x="${LEFT - 8}" y="${CELL.top - 6}">Features</text>`, panels],
  );
}

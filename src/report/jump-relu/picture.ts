import type { Markish } from '@observablehq/plot';
import { AXIS_LINES, type Box, drawn, figureSvg, titles } from '../chart.js';
import { type KeyItem, key } from '../key.js';
import { type Markup, markup } from '../markup.js';

/** A plot of the picture: its axes, its marks, and the key to them. */
export interface Part {
  heading: string;
  x: string;
  y: string;
  xAxis: object;
  yAxis: object;
  marks: Markish[];
  key: readonly KeyItem[];
  /** Room left of the plot, for numbers or names (pixels). */
  left?: number;
}

const HEIGHT = 330;
const KEY = 44;

/** Plots side by side, each with its key above it. */
export function picture(parts: readonly Part[], title: string, description: string): Markup {
  const width = parts.length === 3 ? 320 : 440;
  const drawnParts = parts.map(({ heading, x, y, xAxis, yAxis, marks, key: items, left = 46 }, i) => {
    const box: Box = { x: i * width, y: KEY, width, height: HEIGHT };
    const legend = key(`figure-1-key-${i}`, items, width - 24);
    const plotted = drawn(`figure-1-${i}`, box, {
      marginLeft: left,
      marginRight: 14,
      marginTop: 48,
      marginBottom: 46,
      x: { label: null, ticks: 6, ...xAxis },
      y: { label: null, ticks: 5, ...yAxis },
      marks: [AXIS_LINES, marks, titles({ heading, x, y, left: left - 4 })],
    });
    return markup`<g transform="translate(${i * width + 6} 0)">${legend.svg}</g>${plotted}`;
  });
  return figureSvg(
    { width: parts.length * width, height: KEY + HEIGHT, id: 'figure-1', title, description },
    markup`${drawnParts}`,
  );
}

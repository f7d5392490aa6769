import { FONT } from './chart.js';
import { spread } from './labels.js';

/** Where a line ends, in the values of its axes, and what it is called. */
export interface LineEnd {
  text: string;
  x: number;
  y: number;
  /** Number of its SAE on the page. */
  index: number;
}

const SVG = 'http://www.w3.org/2000/svg';

/** Names of lines at their ends, right of the plot, moved apart where they are near, with a leader each. */
export function endLabels(ends: readonly LineEnd[]) {
  // biome-ignore lint/suspicious/noExplicitAny: Plot's own signature, whose types are a browser's
  return (_index: any, { x, y }: any, _values: any, dimensions: any, { document }: any) => {
    const top = dimensions.marginTop;
    const bottom = dimensions.height - dimensions.marginBottom;
    const right = dimensions.width - dimensions.marginRight;
    const from = ends.map((end) => Math.max(top, Math.min(bottom, y(end.y))));
    const to = spread(from, FONT.small + 1.5, top - 6, bottom - 4);
    const create = (name: string, attributes: Readonly<Record<string, string | number>>) => {
      const element = document.createElementNS(SVG, name);
      for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, String(value));
      return element;
    };
    const group = create('g', { 'data-mark': 'line-names' });
    for (const [i, end] of ends.entries()) {
      const named = create('g', { 'data-sae': end.index });
      const leader = `M${x(end.x) + 2} ${from[i]}H${right + 4}L${right + 13} ${to[i]}`;
      named.append(
        create('path', { d: leader, fill: 'none', stroke: 'currentColor', 'stroke-opacity': 0.4, 'stroke-width': 0.7 }),
      );
      const label = create('text', { x: right + 16, y: to[i]! + 0.35 * FONT.small, 'text-anchor': 'start' });
      label.textContent = end.text;
      named.append(label);
      group.append(named);
    }
    return group;
  };
}

import { type Box, FONT } from './chart.js';
import { placeLabels, type Segment } from './labels.js';
import type { Point } from './points.js';

const SVG = 'http://www.w3.org/2000/svg';

/** Half a side of the square that a symbol and its air take (pixels). */
const SYMBOL = 7;

/**
 * The names of points beside them, as a mark: none covers another, a symbol or the corner, and what fits nowhere is
 * left to the tooltip. Lines and intervals are kept off where there is room.
 *
 * @param points of one panel, all drawable
 * @param curves the points that lines join, in order
 */
export function pointLabels(points: readonly Point[], curves: readonly (readonly Point[])[], corner: Box) {
  // biome-ignore lint/suspicious/noExplicitAny: Plot's own signature, whose types are a browser's
  return (_index: any, { x, y }: any, _values: any, dimensions: any, context: any) => {
    const at = (point: Point) => [x(point.l0), y(point.value)] as const;
    const intervals = points.flatMap((point): Segment[] => [
      ...(point.valueInterval
        ? [[at(point)[0], y(point.valueInterval[0]), at(point)[0], y(point.valueInterval[1])] as const]
        : []),
      ...(point.l0Interval
        ? [[x(point.l0Interval[0]), at(point)[1], x(point.l0Interval[1]), at(point)[1]] as const]
        : []),
    ]);
    const lines = curves.flatMap((curve) =>
      curve.slice(1).map((point, i): Segment => [...at(curve[i]!), ...at(point)]),
    );
    const obstacles = points
      .map(at)
      .map(([px, py]) => ({ x: px - SYMBOL, y: py - SYMBOL, width: 2 * SYMBOL, height: 2 * SYMBOL }));
    const bounds: Box = {
      x: dimensions.marginLeft + 2,
      y: dimensions.marginTop - 4,
      width: dimensions.width - dimensions.marginLeft - dimensions.marginRight + 8,
      height: dimensions.height - dimensions.marginTop - dimensions.marginBottom,
    };
    const named = points.filter(({ index }) => index !== null);
    const requests = named.map((point) => ({ text: point.label, size: FONT.small, near: [at(point)] }));
    const group = context.document.createElementNS(SVG, 'g');
    for (const [i, placed] of placeLabels(
      requests,
      [...obstacles, corner],
      [...lines, ...intervals],
      bounds,
    ).entries()) {
      if (placed === null) continue;
      const { box, anchor, leader } = placed;
      if (leader !== null) {
        const line = context.document.createElementNS(SVG, 'path');
        line.setAttribute('d', `M${leader[0]} ${leader[1]}L${leader[2]} ${leader[3]}`);
        line.setAttribute('stroke', 'currentColor');
        line.setAttribute('stroke-opacity', '0.4');
        group.append(line);
      }
      const label = context.document.createElementNS(SVG, 'text');
      const attributes = {
        x: { start: box.x, middle: box.x + box.width / 2, end: box.x + box.width }[anchor],
        y: box.y + box.height / 2 + 0.35 * FONT.small,
        'text-anchor': anchor,
        'data-sae': named[i]!.index,
        'data-mark': 'label',
      };
      for (const [name, value] of Object.entries(attributes)) label.setAttribute(name, String(value));
      label.textContent = requests[i]!.text;
      group.append(label);
    }
    return group;
  };
}

import { frame, type Markish, type PlotOptions, plot, text } from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { Markup, type MarkupPart, markup, withoutForbidden } from './page.js';

/** The document in which Plot creates elements: there is no browser when a report is built. */
const { document } = parseHTML('<!doctype html><html></html>');

/** A rectangle of a figure, in pixels from its upper left corner. */
export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Width of a full-width figure (pixels). */
export const FIGURE_WIDTH = 960;

/** Font sizes in figures (pixels). */
export const FONT = { title: 12, label: 11.5, small: 11 } as const;

/** The parts of an element used here; Node has no DOM types. */
interface Drawn {
  tagName: string;
  attributes: Iterable<{ name: string; value: string }>;
  querySelectorAll(selector: string): Iterable<Drawn>;
  getAttribute(name: string): string | null;
  setAttribute(name: string, value: string): void;
  removeAttribute(name: string): void;
  remove(): void;
  outerHTML: string;
}

/** Attributes that contain coordinates. */
const GEOMETRY = /^(x|y|x1|x2|y1|y2|cx|cy|r|width|height|d|transform)$/;

/** Rounds coordinates to a hundredth of a pixel: sixteen digits would double the size of the page. */
function rounded(value: string): string {
  return value.replace(/-?\d+\.\d{3,}(e-?\d+)?/g, (number) => String(Math.round(Number(number) * 100) / 100));
}

/** Makes ids unique per figure and reproducible: Plot numbers its clip paths over the program's lifetime. */
function renamedIds(text: string, prefix: string): string {
  const names = new Map<string, string>();
  return text.replace(/plot-clip-\d+/g, (name) => {
    if (!names.has(name)) names.set(name, `${prefix}-clip-${names.size}`);
    return names.get(name)!;
  });
}

/** The axis lines, left and below, which Plot omits. */
export const AXIS_LINES: Markish[] = [
  frame({ anchor: 'left', strokeOpacity: 0.45 }),
  frame({ anchor: 'bottom', strokeOpacity: 0.45 }),
];

/** Text around a plot: its heading, horizontal axis titles, and a word in its corner. */
export function titles(words: { heading?: string; x?: string; y?: string; corner?: string; left: number }): Markish[] {
  const { heading, x, y, corner, left } = words;
  const above = { frameAnchor: 'top-left', lineAnchor: 'bottom', textAnchor: 'start', dx: -left } as const;
  return [
    heading === undefined
      ? []
      : [text([heading], { ...above, dy: y === undefined ? -8 : -26, fontWeight: 600, fontSize: FONT.title })],
    y === undefined ? [] : [text([y], { ...above, dy: -9, fontSize: FONT.label })],
    x === undefined ? [] : [text([x], { frameAnchor: 'bottom', lineAnchor: 'top', dy: 25, fontSize: FONT.label })],
    corner === undefined ? [] : [text([corner], { frameAnchor: 'top-left', dx: 6, dy: 6, fillOpacity: 0.65 })],
  ].flat();
}

/**
 * One plot, positioned in a figure. Colours are the page's variables and currentColor, so that it follows the reader's
 * theme; styling uses only attributes, so that the figure can be used outside of the page.
 *
 * @param id of the figure, and of this plot within it
 */
export function drawn(id: string, box: Box, options: PlotOptions): Markup {
  const svg = plot({ ...options, width: box.width, height: box.height, document }) as unknown as Drawn;
  for (const style of svg.querySelectorAll('style')) style.remove();
  for (const name of ['class', 'font-family']) svg.removeAttribute(name);
  svg.setAttribute('font-size', String(FONT.small));
  svg.setAttribute('x', String(box.x));
  svg.setAttribute('y', String(box.y));
  svg.setAttribute('overflow', 'visible');
  for (const element of svg.querySelectorAll('*')) {
    for (const { name, value } of [...element.attributes]) {
      if (GEOMETRY.test(name)) element.setAttribute(name, rounded(value));
    }
  }
  return new Markup(withoutForbidden(renamedIds(svg.outerHTML, id)));
}

/** The data of a mark, as Plot attaches them to its element: an index, or those of a line's points. */
function dataPlace(element: Drawn): number | undefined {
  const bound = (element as { __data__?: number | readonly number[] }).__data__;
  return typeof bound === 'number' ? bound : bound?.[0];
}

const MARKS = 'path, rect, line, circle, text';

/**
 * Mark options that give each element attributes based on its data. `data-sae`, the index of its SAE, lets hovering
 * over one fade the others in every figure; `data-mark` says what it shows.
 */
export function attributed<T>(
  data: readonly T[],
  attributes: (item: T) => Readonly<Record<string, string | number | null>>,
) {
  // biome-ignore lint/suspicious/noExplicitAny: Plot's own signature, whose types are a browser's
  const render = (index: any, scales: any, values: any, dimensions: any, context: any, next: any) => {
    const group = next(index, scales, values, dimensions, context) as Drawn;
    for (const element of group.querySelectorAll(MARKS)) {
      const place = dataPlace(element);
      if (place === undefined) continue;
      for (const [name, value] of Object.entries(attributes(data[place]!))) {
        if (value !== null) element.setAttribute(name, String(value));
      }
    }
    return group;
  };
  return { render };
}

/**
 * Approximate width of `text` in a sans-serif font, erring on the wide side: the page does not embed a font, and labels
 * must not overlap in any font.
 */
export function textWidth(text: string, size: number): number {
  let ems = 0;
  for (const character of text) {
    if (/[iljtf.,:;|'!()[\] ]/.test(character)) ems += 0.36;
    else if (/[mwMW%@]/.test(character)) ems += 0.94;
    else if (/\p{Lu}/u.test(character)) ems += 0.72;
    else if (/[\u1100-\uFFFF]/.test(character)) ems += 1;
    else ems += 0.61;
  }
  return ems * size;
}

/** The text, truncated in the middle if wider than `width`. */
export function fitted(text: string, size: number, width: number): string {
  if (textWidth(text, size) <= width) return text;
  for (let kept = [...text].length - 1; kept > 2; kept--) {
    const shorter = middleCut(text, kept);
    if (textWidth(shorter, size) <= width) return shorter;
  }
  return '…';
}

/** The text truncated in the middle to `kept` characters, more of them from its end. */
export function middleCut(text: string, kept: number): string {
  // By code points, so as not to split surrogate pairs.
  const characters = [...text];
  const tail = Math.ceil(kept * 0.6);
  return `${characters.slice(0, kept - tail).join('')}…${characters.slice(-tail).join('')}`;
}

/** The root of a figure, labelled for screen readers, at most as wide as its column. */
export function figureSvg(
  {
    width,
    height,
    id,
    title,
    description,
  }: Readonly<{
    width: number;
    height: number;
    id: string;
    title: string;
    description: string;
  }>,
  content: MarkupPart,
): Markup {
  const style = `max-width:${Math.ceil(width)}px;min-width:${Math.ceil(width * 0.72)}px`;
  return markup`<svg class="plot" role="img" id="${id}" aria-labelledby="${id}-title ${id}-desc" viewBox="0 0 ${width} ${height}" style="${style}">
<title id="${id}-title">${title}</title>
<desc id="${id}-desc">${description}</desc>
${content}
</svg>`;
}

/** A segment of a drawn line: x1, y1, x2, y2. */
export type Segment = readonly [number, number, number, number];

/** A label that may be placed next to any of several points. */
interface LabelRequest {
  text: string;
  size: number;
  near: readonly (readonly [number, number])[];
}

/** Position of a label. */
interface PlacedLabel {
  box: Box;
  /** Which end of the text is next to the point. */
  anchor: 'start' | 'middle' | 'end';
  /** The leader line from its point, if it is too far away to do without. */
  leader: Segment | null;
}

function overlap(a: Box, b: Box): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

/** Length of the part of a segment inside a box (Liang and Barsky's clipping). */
function lengthInside([x1, y1, x2, y2]: Segment, box: Box): number {
  let enter = 0;
  let leave = 1;
  const dx = x2 - x1;
  const dy = y2 - y1;
  for (const [p, q] of [
    [-dx, x1 - box.x],
    [dx, box.x + box.width - x1],
    [-dy, y1 - box.y],
    [dy, box.y + box.height - y1],
  ] as const) {
    if (p === 0) {
      if (q < 0) return 0;
    } else if (p < 0) enter = Math.max(enter, q / p);
    else leave = Math.min(leave, q / p);
  }
  return enter < leave ? (leave - enter) * Math.hypot(dx, dy) : 0;
}

/** Directions for placing a label, best first: right, left, above, below, then the corners. */
const DIRECTIONS = [
  [1, 0],
  [-1, 0],
  [0, -1],
  [0, 1],
  [1, -1],
  [1, 1],
  [-1, -1],
  [-1, 1],
] as const;

const DISTANCES = [8, 17, 30, 46];

/** Preferred distance of a label from lines. */
const AIR = 2;

function boxBeside(
  [x, y]: readonly [number, number],
  dx: number,
  dy: number,
  gap: number,
  width: number,
  height: number,
) {
  // Diagonally, less distance along each axis is needed.
  const reach = dx !== 0 && dy !== 0 ? gap * 0.62 : gap;
  const left = dx > 0 ? x + reach : dx < 0 ? x - reach - width : x - width / 2;
  const above = dy > 0 ? y + reach : dy < 0 ? y - reach - height : y - height / 2;
  return { x: left, y: above, width, height };
}

/** From a point to the nearest point of a box. */
function leaderTo(box: Box, [x, y]: readonly [number, number]): Segment {
  return [x, y, Math.max(box.x, Math.min(box.x + box.width, x)), Math.max(box.y, Math.min(box.y + box.height, y))];
}

function within(box: Box, bounds: Box): boolean {
  return (
    box.x >= bounds.x &&
    box.y >= bounds.y &&
    box.x + box.width <= bounds.x + bounds.width &&
    box.y + box.height <= bounds.y + bounds.height
  );
}

/**
 * Places labels one by one so that none covers another label or an obstacle or leaves the bounds; crossing a line is
 * allowed but avoided. A label that fits nowhere is null: better left to the tooltip than unreadable.
 */
export function placeLabels(
  requests: readonly LabelRequest[],
  obstacles: readonly Box[],
  segments: readonly Segment[],
  bounds: Box,
): (PlacedLabel | null)[] {
  const labels: Box[] = [];
  const lines: Segment[] = [...segments];
  const crossed = (box: Box) => lines.reduce((sum, line) => sum + lengthInside(line, box), 0);
  return requests.map(({ text, size, near }) => {
    const width = textWidth(text, size);
    const height = size * 1.2;
    let best: (PlacedLabel & { cost: number }) | null = null;
    for (const point of near) {
      for (const [ring, gap] of DISTANCES.entries()) {
        for (const [order, [dx, dy]] of DIRECTIONS.entries()) {
          const box = boxBeside(point, dx, dy, gap, width, height);
          if (!within(box, bounds) || [...labels, ...obstacles].some((other) => overlap(box, other))) continue;
          // Next to a line, its name needs no leader unless it is far away.
          const leader = ring > (near.length > 1 ? 1 : 0) ? leaderTo(box, point) : null;
          const through = leader !== null && labels.some((label) => lengthInside(leader, label) > 0);
          const inked = crossed({ x: box.x - AIR, y: box.y - AIR, width: width + 2 * AIR, height: height + 2 * AIR });
          const cost = order + 9 * ring + (inked > 0 ? 30 + inked : 0) + (through ? 60 : 0);
          const anchor = dx > 0 ? 'start' : dx < 0 ? 'end' : 'middle';
          if (best === null || cost < best.cost) best = { box, anchor, leader, cost };
        }
      }
    }
    if (best === null) return null;
    labels.push(best.box);
    if (best.leader !== null) lines.push(best.leader);
    return { box: best.box, anchor: best.anchor, leader: best.leader };
  });
}

/**
 * Shifts positions along one axis as little as needed to keep `gap` between neighbours, within [low, high] if they fit.
 * Preserves their order.
 */
export function spread(wanted: readonly number[], gap: number, low: number, high: number): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a]! - wanted[b]! || a - b);
  // Clusters of touching labels, each centred on the mean of its members' wanted positions (pool adjacent violators).
  const clusters: { members: number[]; middle: number }[] = [];
  const settle = (members: number[]) => {
    const half = ((members.length - 1) * gap) / 2;
    const mean = members.reduce((sum, i) => sum + wanted[i]!, 0) / members.length;
    return { members, middle: Math.max(low + half, Math.min(high - half, mean)) };
  };
  for (const i of order) {
    let cluster = settle([i]);
    for (let before = clusters.at(-1); before !== undefined; before = clusters.at(-1)) {
      const between = ((before.members.length + cluster.members.length) * gap) / 2;
      if (cluster.middle - before.middle >= between) break;
      clusters.pop();
      cluster = settle([...before.members, ...cluster.members]);
    }
    clusters.push(cluster);
  }
  const positions = new Array<number>(wanted.length);
  for (const { members, middle } of clusters) {
    for (const [k, i] of members.entries()) positions[i] = middle + (k - (members.length - 1) / 2) * gap;
  }
  return positions;
}

/** The end of a line in axis values, and the line's name. */
export interface LineEnd {
  text: string;
  x: number;
  y: number;
  /** Index of its SAE on the page. */
  index: number;
}

/** SVG namespace for createElementNS. */
export const SVG_NAMESPACE = 'http://www.w3.org/2000/svg';

/** Names of lines at their ends, right of the plot, spread apart if close together, each with a leader. */
export function endLabels(ends: readonly LineEnd[]) {
  // biome-ignore lint/suspicious/noExplicitAny: Plot's own signature, whose types are a browser's
  return (_index: any, { x, y }: any, _values: any, dimensions: any, { document }: any) => {
    const top = dimensions.marginTop;
    const bottom = dimensions.height - dimensions.marginBottom;
    const right = dimensions.width - dimensions.marginRight;
    const from = ends.map((end) => Math.max(top, Math.min(bottom, y(end.y))));
    const to = spread(from, FONT.small + 1.5, top - 6, bottom - 4);
    const create = (name: string, attributes: Readonly<Record<string, string | number>>) => {
      const element = document.createElementNS(SVG_NAMESPACE, name);
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

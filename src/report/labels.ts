import { type Box, textWidth } from './chart.js';

/** A straight piece of a drawn line: x1, y1, x2, y2. */
export type Segment = readonly [number, number, number, number];

/** Text that wants to stand beside any one of some points. */
export interface LabelRequest {
  text: string;
  size: number;
  near: readonly (readonly [number, number])[];
}

/** Where the text goes. */
export interface PlacedLabel {
  box: Box;
  /** Which end of the text is next to the point. */
  anchor: 'start' | 'middle' | 'end';
  /** The line that leads to it from its point, where it stands too far away to do without. */
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

/** Directions a label can stand in, the better first: right, left, above, below, then the corners. */
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

/** Distance that a label keeps from lines where it can. */
const AIR = 2;

function boxBeside(
  [x, y]: readonly [number, number],
  dx: number,
  dy: number,
  gap: number,
  width: number,
  height: number,
) {
  // A corner needs less distance along each axis.
  const reach = dx !== 0 && dy !== 0 ? gap * 0.62 : gap;
  const left = dx > 0 ? x + reach : dx < 0 ? x - reach - width : x - width / 2;
  const above = dy > 0 ? y + reach : dy < 0 ? y - reach - height : y - height / 2;
  return { x: left, y: above, width, height };
}

/** From a point to the nearest place of a box. */
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
 * Places labels one after another so that none covers another label or an obstacle or leaves the bounds; crossing a
 * line is allowed but avoided. A label that fits nowhere is null: it is better left to the tooltip than unreadable.
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
          // Beside a line its name needs no leader until it stands far away.
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
 * Moves wanted positions along one axis as little as is needed to keep `gap` between neighbours, inside [low, high]
 * where they fit. Keeps their order.
 */
export function spread(wanted: readonly number[], gap: number, low: number, high: number): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a]! - wanted[b]! || a - b);
  // Clusters of touching labels, each centred on the mean of what its members want (pool adjacent violators).
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

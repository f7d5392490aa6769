import { line } from '@observablehq/plot';
import type { MetricsRecord } from '../train/metrics-record.js';
import { AXIS_LINES, attributed, type Box, drawn, FONT, figureSvg, textWidth, titles } from './chart.js';
import { extent, logDomain, logTicks, padded, wantsLog } from './domains.js';
import { bucketMeans, type CurvePoint, withoutRepeats } from './downsample.js';
import { endLabels, type LineEnd } from './end-labels.js';
import { distinct, families, type Placed } from './entries.js';
import { compact, listed } from './format.js';
import { key } from './key.js';
import { type Markup, markup } from './markup.js';
import { colour } from './styles.js';

/** Most points a line has. */
const POINTS = 400;
/** With this many lines or fewer every panel names them; with more, the panels of the left column do. */
const LABEL_EVERY_PANEL = 4;
/** With more lines than this, only the largest and the smallest L0 of a family are named. */
const LABEL_EVERY_LINE = 24;
const WIDTH = 960;
const MARGIN = { marginLeft: 46, marginTop: 30, marginBottom: 24 };
/** Height of the plot in the row of the learning rate. */
const LOW = 74;

interface Quantity {
  title: string;
  value: (line: MetricsRecord) => number;
  /** Never: linear. Always: log10 of what is above 0. Wide: log10 if the span is more than a factor of 8. */
  log: 'never' | 'always' | 'wide';
  /** The y axis begins at 0. */
  fromZero: boolean;
  /** Leave the first twentieth of training out when the y axis is chosen: it is far from all that follows. */
  cutStart: boolean;
}

const L0: Quantity = { title: 'L0', value: (line) => line.l0, log: 'wide', fromZero: false, cutStart: false };
const QUANTITIES: readonly (readonly Quantity[])[] = [
  [
    L0,
    {
      title: 'Explained variance',
      value: (line) => line.explained_variance ?? Number.NaN,
      log: 'never',
      fromZero: false,
      cutStart: true,
    },
  ],
  [
    { title: 'Loss', value: (line) => line.loss, log: 'always', fromZero: false, cutStart: false },
    {
      title: 'Dead features (%)',
      value: (line) => 100 * (line.dead_fraction ?? Number.NaN),
      log: 'never',
      fromZero: true,
      cutStart: false,
    },
  ],
  [{ title: 'Learning rate', value: (line) => line.lr, log: 'never', fromZero: true, cutStart: false }],
];

/** All labels of an axis of learning rates in one notation: 0, 5e-4, 1e-3. */
function scientific(value: number): string {
  return value === 0 ? '0' : Number(value.toPrecision(3)).toExponential();
}

interface Curve {
  entry: Placed;
  points: CurvePoint[];
}

/** The y axis of a panel: its kind and its ends. */
function yAxis(curves: readonly Curve[], quantity: Quantity): { type: 'linear' | 'log'; domain: [number, number] } {
  const end = extent(curves.flatMap(({ points }) => points.map(({ tokens }) => tokens)))?.[1] ?? 0;
  const shown = curves.flatMap(({ points }) =>
    points.filter(({ tokens }) => !quantity.cutStart || tokens >= end / 20).map(({ value }) => value),
  );
  const anyPositive = shown.some((value) => value > 0);
  if (anyPositive && (quantity.log === 'always' || (quantity.log === 'wide' && wantsLog(shown)))) {
    return { type: 'log', domain: logDomain(shown, 0.05, 1.5) };
  }
  const span = extent(shown) ?? [0, 1];
  const [low, high] = padded(span, 0.06);
  return {
    type: 'linear',
    domain: quantity.fromZero && span[0] >= 0 ? [0, Math.max(high, span[1] * 1.06)] : [low, high],
  };
}

/** Lines that are named in a panel: all, or where they are many, the ends of each family. */
function named(curves: readonly Curve[]): readonly Curve[] {
  if (curves.length <= LABEL_EVERY_LINE) return curves;
  const ends = families(curves.map(({ entry }) => entry)).flatMap((family) => [family[0], family.at(-1)]);
  return curves.filter(({ entry }) => ends.includes(entry));
}

function lineEnds(curves: readonly Curve[], log: boolean): LineEnd[] {
  return named(curves).flatMap(({ entry, points }) => {
    const last = points.findLast(({ value }) => Number.isFinite(value) && (!log || value > 0));
    return last === undefined ? [] : [{ text: entry.label, x: last.tokens, y: last.value, index: entry.index }];
  });
}

function panel(
  id: string,
  curves: readonly Curve[],
  quantity: Quantity,
  box: Box,
  gutter: number,
  last: boolean,
): Markup {
  const seen = extent(curves.flatMap(({ points }) => points.map(({ tokens }) => tokens))) ?? [0, 1];
  const y = yAxis(curves, quantity);
  // Strong lines last, on top. What a log axis has no place for is a gap.
  const points = [...curves]
    .reverse()
    .flatMap(({ entry, points: of }) =>
      of.map(({ tokens, value }) => ({ tokens, value: y.type === 'log' && !(value > 0) ? Number.NaN : value, entry })),
    );
  const along = {
    x: 'tokens',
    y: 'value',
    z: ({ entry }: { entry: Placed }) => entry.index,
    strokeLinejoin: 'round',
    strokeLinecap: 'round',
    clip: true,
  } as const;
  const saeOf = ({ entry }: { entry: Placed }) => ({ 'data-sae': entry.index });
  // Dead features are not known at first, explained variance may have no value.
  const blank = points.some(({ value }) => Number.isFinite(value)) ? '' : ': not known yet';
  const ticks = Math.max(2, Math.min(6, (box.height - MARGIN.marginTop - MARGIN.marginBottom) / 34));
  return drawn(id, box, {
    ...MARGIN,
    marginRight: gutter,
    x: { domain: [0, seen[1] || 1], label: null, ticks: 5, tickFormat: compact },
    y: {
      ...y,
      label: null,
      grid: true,
      ticks: y.type === 'log' ? logTicks(y.domain, ticks + 1) : ticks,
      tickFormat: y.type === 'log' ? compact : y.domain[1] < 0.01 ? scientific : undefined,
    },
    marks: [
      AXIS_LINES,
      line(points, {
        ...along,
        stroke: { value: ({ entry }: { entry: Placed }) => colour(entry.style), scale: null },
        strokeOpacity: { value: ({ entry }: { entry: Placed }) => entry.strength, scale: null },
        strokeWidth: 1.6,
        ...attributed(points, (point) => ({ ...saeOf(point), 'data-mark': 'curve' })),
      }),
      // A second, wide, unseen line is what a pointer can hit.
      line(points, {
        ...along,
        stroke: 'transparent',
        strokeWidth: 12,
        title: ({ entry }: { entry: Placed }) => entry.name,
        ...attributed(points, (point) => ({ ...saeOf(point), class: 'hit' })),
      }),
      last ? endLabels(lineEnds(curves, y.type === 'log')) : [],
      titles({ y: `${quantity.title}${y.type === 'log' ? ' (log scale)' : ''}${blank}`, left: MARGIN.marginLeft - 4 }),
    ],
  });
}

/** Which colour is which family, and which L0 its lines span. */
function familyKey(id: string, entries: readonly Placed[], width: number) {
  const names = distinct(entries.map(({ family }) => family));
  const items = names.map((name) => {
    const own = entries.filter(({ family }) => family === name);
    const sizes = extent(own.map(({ record }) => record.l0));
    const range = sizes === null || own.length < 2 ? '' : `, L0 ${compact(sizes[0])} to ${compact(sizes[1])}`;
    return { label: `${name}${range}`, style: own[0]!.style, sign: 'line' as const };
  });
  return key(id, items, width);
}

/** The SAEs that came without a training curve. */
export function withoutCurve(entries: readonly Placed[]): Placed[] {
  return entries.filter(({ curve }) => curve.length === 0);
}

/**
 * The figure of training curves: L0, explained variance, loss, dead features and learning rate against activations
 * seen; null without curves.
 */
export function trainingCurvesFigure(entries: readonly Placed[], id = 'figure-training'): Markup | null {
  const trained = entries.filter(({ curve }) => curve.length > 0);
  if (trained.length === 0) return null;
  const records = trained.map((entry) => ({ entry, lines: withoutRepeats(entry.curve) }));
  const everyPanel = trained.length <= LABEL_EVERY_PANEL;
  const room = 24 + Math.max(...trained.map(({ label }) => textWidth(label, FONT.small)));
  // The right column's names are the left one's where they are many; then its plots take the room.
  const gutters = [room, everyPanel ? room : 14];
  const plotWidth = (WIDTH - 2 * MARGIN.marginLeft - room - gutters[1]!) / 2;
  const tall = Math.max(150, (FONT.small + 1.5) * Math.min(trained.length, LABEL_EVERY_LINE));
  // Where every line is named in every panel, and by its family, colours need no key.
  const plain = everyPanel && trained.every(({ label, family }) => label.includes(family));
  const legend = plain ? { svg: null, height: 0 } : familyKey(`${id}-key`, trained, WIDTH);
  let top = legend.height + (plain ? 0 : 6);
  const rows = QUANTITIES.map((row, r) => {
    const height = (row.length > 1 ? tall : LOW) + MARGIN.marginTop + MARGIN.marginBottom;
    const panels = row.map((quantity, c) => {
      const gutter = gutters[c]!;
      const left = c === 0 ? 0 : MARGIN.marginLeft + plotWidth + room;
      const box = { x: left, y: top, width: MARGIN.marginLeft + plotWidth + gutter, height };
      const curves = records.map(({ entry, lines }) => ({
        entry,
        points: bucketMeans(
          lines.map((one) => ({ tokens: one.tokens, value: quantity.value(one) })),
          POINTS,
        ),
      }));
      return panel(`${id}-${r}${c}`, curves, quantity, box, gutter, row.length > 1 && (everyPanel || c === 0));
    });
    top += height;
    return panels;
  });
  const middle = MARGIN.marginLeft + plotWidth / 2;
  return figureSvg(
    {
      width: WIDTH,
      height: top + 16,
      id,
      title: 'Training curves',
      description: `L0, explained variance, loss, dead features and learning rate against activations seen, for ${listed(trained.map(({ name }) => name))}.`,
    },
    markup`${legend.svg}${rows}<text x="${middle}" y="${top + 11}" text-anchor="middle" font-size="${FONT.label}" fill="currentColor">Activations seen</text>`,
  );
}

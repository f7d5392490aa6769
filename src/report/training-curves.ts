import { line, type Markish, text } from '@observablehq/plot';
import { listed } from '../config/suggest.js';
import type { MetricsRecord } from '../sae/training-curve.js';
import {
  AXIS_LINES,
  attributed,
  type Box,
  drawn,
  endLabels,
  FIGURE_WIDTH,
  FONT,
  figureSvg,
  fitted,
  type LineEnd,
  textWidth,
  titles,
} from './chart.js';
import { distinct, families, type Placed } from './entries.js';
import { key, lineColour } from './family-styles.js';
import { compact, extent, logDomain, logTicks, nearestRank, paddedDomain, wantsLog } from './numbers-and-axes.js';
import { type Markup, markup } from './page.js';
import { bucketMeans, type CurvePoint, withoutRepeats } from './thinned-curve.js';

/** Max points per line. */
const MOST_POINTS = 400;
/** Up to this many lines are named in every panel; more lines only in the left column. */
const LABEL_EVERY_PANEL = 4;
/** With more lines than this, only the largest and the smallest L0 of a family are named. */
const LABEL_EVERY_LINE = 24;
const CURVE_MARGIN = { marginLeft: 46, marginTop: 30, marginBottom: 24 };
/** Space for the name of a hook above its panels. */
const CURVE_HEADING = 22;
/** Height of the learning rate plot. */
const LOW = 74;

const L0: Quantity = { title: 'L0', value: (line) => line.l0, log: 'wide', fromZero: false, cut: true };
const QUANTITIES: readonly (readonly Quantity[])[] = [
  [
    L0,
    {
      title: 'Explained variance',
      value: (line) => line.explained_variance ?? Number.NaN,
      log: 'never',
      fromZero: false,
      cut: true,
      // Reconstructions worse than the mean activation.
      floor: -0.1,
    },
  ],
  [
    { title: 'Loss', value: (line) => line.loss, log: 'always', fromZero: false, cut: true },
    {
      title: 'Dead features (%)',
      value: (line) => 100 * (line.dead_fraction ?? Number.NaN),
      log: 'never',
      fromZero: true,
      cut: false,
    },
  ],
  [{ title: 'Learning rate', value: (line) => line.lr, log: 'never', fromZero: true, cut: false }],
];

/** All labels of a learning rate axis in the same notation: 0, 5e-4, 1e-3. */
function scientific(value: number): string {
  return value === 0 ? '0' : Number(value.toPrecision(3)).toExponential();
}

interface Curve {
  entry: Placed;
  points: CurvePoint[];
}

const axisOf = (curves: readonly Curve[], quantity: Quantity): Axis =>
  yAxis(
    curves.map(({ points }) => points),
    quantity,
  );

/** Lines named in a panel: all, or if there are many, the extremes of each family. */
function named(curves: readonly Curve[]): readonly Curve[] {
  if (curves.length <= LABEL_EVERY_LINE) return curves;
  const ends = families(curves.map(({ entry }) => entry)).flatMap((family) => [family[0], family.at(-1)]);
  return curves.filter(({ entry }) => ends.includes(entry));
}

/** The last value of a curve, next to its name. */
const lastOf = ({ points }: Curve) => points.findLast(({ value }) => Number.isFinite(value));

/** Names at the ends of lines; one that ends outside of the axis shows its value. */
function lineEnds(curves: readonly Curve[], axis: Axis): LineEnd[] {
  return named(curves).flatMap((curve) => {
    const last = lastOf(curve);
    if (last === undefined) return [];
    const side = beyond(last.value, axis);
    const y = side === null ? last.value : axis.domain[side === 'below' ? 0 : 1];
    const text = side === null ? curve.entry.label : `${curve.entry.label} (${compact(last.value)})`;
    return [{ text, x: last.tokens, y, index: curve.entry.index }];
  });
}

/** Arrows at the edge of the plot, where curves end outside of it. */
function clipMarks(curves: readonly Curve[], axis: Axis): Markish[] {
  const marks = curves.flatMap((curve) => {
    const last = lastOf(curve);
    const side = last === undefined ? null : beyond(last.value, axis);
    if (last === undefined || side === null) return [];
    return [{ side, x: last.tokens, entry: curve.entry, tip: `${curve.entry.name}: ${compact(last.value)}` }];
  });
  return (['below', 'above'] as const).flatMap((side) => {
    const own = marks.filter((mark) => mark.side === side);
    if (own.length === 0) return [];
    return [
      text(own, {
        x: 'x',
        frameAnchor: side === 'below' ? 'bottom' : 'top',
        lineAnchor: side === 'below' ? 'bottom' : 'top',
        textAnchor: 'end',
        text: () => (side === 'below' ? '▾' : '▴'),
        fontSize: 13,
        fill: { value: ({ entry }: { entry: Placed }) => lineColour(entry), scale: null },
        title: 'tip',
        ...attributed(own, ({ entry }) => ({ 'data-sae': entry.index, 'data-mark': 'clipped' })),
      }),
    ];
  });
}

function curvePanel(
  id: string,
  curves: readonly Curve[],
  quantity: Quantity,
  box: Box,
  gutter: number,
  last: boolean,
): Markup {
  const seen = extent(curves.flatMap(({ points }) => points.map(({ tokens }) => tokens))) ?? [0, 1];
  const y = axisOf(curves, quantity);
  // Strong lines last, on top. Values that do not fit on a log axis are gaps.
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
  // Dead features are unknown at first; explained variance may have no value.
  const blank = points.some(({ value }) => Number.isFinite(value)) ? '' : ': unknown so far';
  const ticks = Math.max(2, Math.min(6, (box.height - CURVE_MARGIN.marginTop - CURVE_MARGIN.marginBottom) / 34));
  return drawn(id, box, {
    ...CURVE_MARGIN,
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
        stroke: { value: ({ entry }: { entry: Placed }) => lineColour(entry), scale: null },
        strokeOpacity: { value: ({ entry }: { entry: Placed }) => entry.strength, scale: null },
        strokeWidth: 1.6,
        ...attributed(points, (point) => ({ ...saeOf(point), 'data-mark': 'curve' })),
      }),
      // A second, wide, invisible line as a target for the pointer.
      line(points, {
        ...along,
        stroke: 'transparent',
        strokeWidth: 12,
        title: ({ entry }: { entry: Placed }) => entry.name,
        ...attributed(points, (point) => ({ ...saeOf(point), class: 'hit' })),
      }),
      clipMarks(curves, y),
      last ? endLabels(lineEnds(curves, y)) : [],
      titles({
        y: `${quantity.title}${y.type === 'log' ? ' (log scale)' : ''}${blank}`,
        left: CURVE_MARGIN.marginLeft - 4,
      }),
    ],
  });
}

/** The SAEs that came without a training curve. */
export function withoutCurve(entries: readonly Placed[]): Placed[] {
  return entries.filter(({ curve }) => curve.length === 0);
}

/** Widths of a figure's plots and of the space right of them, the same for each of its hooks. */
interface PanelLayout {
  everyPanel: boolean;
  /** Height of a plot (pixels). */
  tall: number;
  plotWidth: number;
  /** Space right of the left and the right column. */
  gutters: readonly [number, number];
}

function panelLayout(sites: readonly (readonly Curve[][])[]): PanelLayout {
  const most = Math.max(...sites.map(([first]) => first!.length));
  const everyPanel = most <= LABEL_EVERY_PANEL;
  const texts = sites.flatMap((quantities) =>
    quantities.flatMap((curves, q) => lineEnds(curves, axisOf(curves, QUANTITIES.flat()[q]!)).map(({ text }) => text)),
  );
  const room = 24 + Math.max(60, ...texts.map((text) => textWidth(text, FONT.small)));
  // If there are many lines, the right column shares the left one's names and uses the space for plots.
  const gutters = [room, everyPanel ? room : 14] as const;
  return {
    everyPanel,
    tall: Math.max(150, (FONT.small + 1.5) * Math.min(most, LABEL_EVERY_LINE)),
    plotWidth: (FIGURE_WIDTH - 2 * CURVE_MARGIN.marginLeft - gutters[0] - gutters[1]) / 2,
    gutters,
  };
}

/** The panels of one hook, from `from` downwards. */
function sitePanels(id: string, quantities: readonly (readonly Curve[])[], from: number, layout: PanelLayout) {
  const { everyPanel, tall, plotWidth, gutters } = layout;
  let top = from;
  let q = 0;
  const rows = QUANTITIES.map((row, r) => {
    const height = (row.length > 1 ? tall : LOW) + CURVE_MARGIN.marginTop + CURVE_MARGIN.marginBottom;
    const panels = row.map((quantity, c) => {
      const left = c === 0 ? 0 : CURVE_MARGIN.marginLeft + plotWidth + gutters[0];
      const box = { x: left, y: top, width: CURVE_MARGIN.marginLeft + plotWidth + gutters[c]!, height };
      const names = row.length > 1 && (everyPanel || c === 0);
      return curvePanel(`${id}-${r}${c}`, quantities[q++]!, quantity, box, gutters[c]!, names);
    });
    top += height;
    return panels;
  });
  return { svg: rows, bottom: top };
}

/** The curves of each quantity of some SAEs. */
function quantityCurves(entries: readonly Placed[]): Curve[][] {
  const records = entries.map((entry) => ({ entry, lines: withoutRepeats(entry.curve) }));
  return QUANTITIES.flat().map((quantity) =>
    records.map(({ entry, lines }) => ({
      entry,
      points: bucketMeans(
        lines.map((one) => ({ tokens: one.tokens, value: quantity.value(one) })),
        MOST_POINTS,
      ),
    })),
  );
}

/**
 * The figure of training curves: L0, explained variance, loss, dead features and learning rate against activations
 * seen, with the panels of several hooks below each other; null without curves.
 */
export function trainingCurvesFigure(entries: readonly Placed[], id = 'figure-training'): Markup | null {
  const trained = entries.filter(({ curve }) => curve.length > 0);
  if (trained.length === 0) return null;
  const sites = distinct(trained.map(({ site }) => site));
  const curves = sites.map((site) => quantityCurves(trained.filter((entry) => entry.site === site)));
  const layout = panelLayout(curves);
  // If every line is named in every panel, including its family, no legend is needed.
  const plain = layout.everyPanel && trained.every(({ label, family }) => label.includes(family));
  const legend = plain ? { svg: null, height: 0 } : curveKey(`${id}-key`, trained, FIGURE_WIDTH);
  let top = legend.height + (plain ? 0 : 6);
  const middle = CURVE_MARGIN.marginLeft + layout.plotWidth / 2;
  const blocks = curves.map((of, i) => {
    const heading = sites.length > 1 ? CURVE_HEADING : 0;
    const { svg, bottom } = sitePanels(sites.length > 1 ? `${id}-site${i}` : id, of, top + heading, layout);
    const name = fitted(sites[i]!, FONT.title, FIGURE_WIDTH);
    const block = markup`${heading === 0 ? null : markup`<text x="0" y="${top + 16}" font-size="${FONT.title}" font-weight="600" fill="currentColor">${name}</text>`}${svg}<text x="${middle}" y="${bottom + 11}" text-anchor="middle" font-size="${FONT.label}" fill="currentColor">Activations seen</text>`;
    top = bottom + 16 + (i < sites.length - 1 ? 18 : 0);
    return block;
  });
  return figureSvg(
    {
      width: FIGURE_WIDTH,
      height: top,
      id,
      title: 'Training curves',
      description: `L0, explained variance, loss, dead features and learning rate against activations seen, for ${listed(trained.map(({ fullName }) => fullName))}.`,
    },
    markup`${legend.svg}${blocks}`,
  );
}

/** A quantity of a training curve, and the choice of its axis. */
interface Quantity {
  title: string;
  value: (line: MetricsRecord) => number;
  /** Never: linear. Always: log10 of positive values. Wide: log10 if the values span more than a factor of 8. */
  log: 'never' | 'always' | 'wide';
  /** The y axis begins at 0. */
  fromZero: boolean;
  /** The range excludes the start of training and the most extreme values. */
  cut: boolean;
  /** Lower values only mean that training failed: the axis excludes them if other curves stay above. */
  floor?: number;
}

interface Axis {
  type: 'linear' | 'log';
  domain: [number, number];
}

/** The initial share of a curve that is excluded: far from all later values, it would dominate the axis. */
const START = 1 / 20;
/** Share of the later values that an axis may exclude at each end. */
const RARE = 0.01;

/** The values that determine an axis: of each curve, those after its start. */
function decisive(points: readonly CurvePoint[], { cut }: Quantity): number[] {
  const end = points.at(-1)?.tokens ?? 0;
  return points.filter(({ tokens }) => !cut || tokens >= START * end).map(({ value }) => value);
}

/** The y axis of a panel: its type and range. Values outside of it are not drawn (see `beyond`). */
export function yAxis(curves: readonly (readonly CurvePoint[])[], quantity: Quantity): Axis {
  const each = curves.map((points) => decisive(points, quantity));
  const all = each.flat().filter(Number.isFinite);
  const positive = all.filter((value) => value > 0);
  const limits = (values: readonly number[]): [number, number] =>
    quantity.cut
      ? [nearestRank(values, RARE), nearestRank(values, 1 - RARE)]
      : [nearestRank(values, 0), nearestRank(values, 1)];
  if (positive.length > 0 && (quantity.log === 'always' || (quantity.log === 'wide' && wantsLog(positive)))) {
    // The ends of curves are what readers look at, so a log axis includes them.
    const ends = each.map((values) => values.at(-1) ?? Number.NaN);
    return { type: 'log', domain: logDomain([...limits(positive), ...ends], 0.05, 1.5) };
  }
  if (all.length === 0) return { type: 'linear', domain: [0, 1] };
  let [least, most] = limits(all);
  const { floor } = quantity;
  if (floor !== undefined && least < floor && each.some((values) => nearestRank(values, 0.5) >= floor)) least = floor;
  most = Math.max(most, least);
  const [low, high] = paddedDomain([least, most], 0.06);
  return {
    type: 'linear',
    domain: quantity.fromZero && least >= 0 ? [0, Math.max(high, most * 1.06)] : [low, high],
  };
}

/** The end of the axis beyond which a value lies; null if it is inside, or not a number. */
export function beyond(value: number, { type, domain }: Axis): 'below' | 'above' | null {
  if (Number.isNaN(value)) return null;
  if (value < domain[0] || (type === 'log' && value <= 0)) return 'below';
  return value > domain[1] ? 'above' : null;
}

/** Legend: the colour of each family, and the range of L0 of its lines; for a ramp, its two ends. */
function curveKey(id: string, entries: readonly Placed[], width: number) {
  const ramp = entries.filter(({ tone }) => tone === 0 || tone === 1);
  if (ramp.length > 0) {
    const ends = ramp.filter(({ tone }, i) => ramp.findIndex((other) => other.tone === tone) === i);
    const items = ends
      .sort((a, b) => a.tone! - b.tone!)
      .map((entry) => ({
        label: entry.label,
        style: entry.style,
        stroke: lineColour(entry),
        sign: 'line' as const,
      }));
    return key(
      id,
      items.map((item, i) => (i === 0 && items.length > 1 ? { ...item, label: `${item.label} to` } : item)),
      width,
    );
  }
  const names = distinct(entries.map(({ family }) => family));
  const items = names.map((name) => {
    const own = entries.filter(({ family }) => family === name);
    const sizes = extent(own.map(({ record }) => record.l0));
    const range = sizes === null || own.length < 2 ? '' : `, L0 ${compact(sizes[0])} to ${compact(sizes[1])}`;
    return { label: `${name}${range}`, style: own[0]!.style, sign: 'line' as const };
  });
  return key(id, items, width);
}

import { line, link, type Markish, ruleY } from '@observablehq/plot';
import { listed } from '../config/suggest.js';
import type { EvalRecord, Interval } from '../eval/record.js';
import {
  AXIS_LINES,
  attributed,
  type Box,
  drawn,
  FIGURE_WIDTH,
  FONT,
  figureSvg,
  fitted,
  placeLabels,
  type Segment,
  SVG_NAMESPACE,
  textWidth,
  titles,
} from './chart.js';
import { distinct, type Entry } from './entries.js';
import { familySymbols, type KeyItem, key, styleColour } from './family-styles.js';
import { compact, fixed, logDomain, logTicks, paddedDomain } from './numbers-and-axes.js';
import { type Markup, markup } from './page.js';

/**
 * Range of the axis of loss recovered (%): extended to 100 if that extends it by at most the points' spread, or if all
 * are above 50.
 */
export function recoveredDomain(values: readonly number[]): [number, number] {
  const [least, most] = values.length === 0 ? [0, 100] : [Math.min(...values), Math.max(...values)];
  const [low, high] = paddedDomain([least, most], 0.1);
  const toFull = least >= 50 || 100 - high < high - low;
  return [low, toFull ? Math.max(100, most) : high];
}

/** A point in words, with its intervals. */
function tip({ name, l0, value, l0Interval, valueInterval }: Point): string {
  const across = l0Interval ? ` (${fixed(l0Interval[0], 1)} to ${fixed(l0Interval[1], 1)})` : '';
  const up = valueInterval ? ` (${fixed(valueInterval[0], 2)} to ${fixed(valueInterval[1], 2)})` : '';
  return `${name}: L0 ${fixed(l0, 1)}${across}, loss recovered ${fixed(value, 2)} %${up}`;
}

/** Contents of the figure besides the evaluation's points. */
interface ParetoOptions {
  title?: string;
  note?: (site: string) => string | undefined;
  reference?: string;
}

/** Figure 1: loss recovered (%) against L0, one panel per hook. */
export function paretoFigure(points: readonly Point[], options: ParetoOptions = {}): Markup {
  return againstL0(points, {
    id: 'figure-1',
    title: 'Loss recovered against L0',
    ...options,
    y: 'Loss recovered (%)',
    domain: recoveredDomain,
    factor: 100,
    corner: '↖ better',
    tip,
  });
}

/** Why a point cannot be shown in a figure against L0. */
function obstacle({ l0, reason }: Point, quantity: string): string {
  if (!(l0 > 0 && Number.isFinite(l0))) return l0 === 0 ? 'no feature is ever active' : 'L0 is not finite';
  return reason ?? `${quantity} is not finite`;
}

/** Names of the SAEs that cannot be shown in a figure against L0, and why. */
export function notDrawn(points: readonly Point[], quantity: string): string {
  const missing = points.filter((point) => !drawable(point));
  const why = distinct(missing.map((point) => obstacle(point, quantity)));
  const parts = why.map((reason) => {
    const names = missing.filter((point) => obstacle(point, quantity) === reason).map(({ name }) => name);
    return `${listed(names)}, because ${reason}`;
  });
  return parts.length === 0 ? '' : `Not drawn: ${parts.join('; ')}.`;
}

/** Figure 2: relative reconstruction bias γ against L0, one panel per hook, with a line at 1 (no shrinkage). */
export function shrinkageFigure(points: readonly Point[], options: { reference?: string } = {}): Markup {
  return againstL0(points, {
    id: 'figure-2',
    title: 'Relative reconstruction bias against L0',
    ...options,
    y: 'γ, relative reconstruction bias',
    domain: (values) => paddedDomain([Math.min(1, ...values), Math.max(1, ...values)], 0.1),
    factor: 1,
    level: 1,
    tip: ({ name, l0, value, valueInterval: interval }) =>
      `${name}: L0 ${fixed(l0, 1)}, γ ${fixed(value, 3)}${interval ? ` (${fixed(interval[0], 3)} to ${fixed(interval[1], 3)})` : ''}`,
  });
}

/** Description of a figure of a quantity against L0. */
interface AgainstL0 {
  id: string;
  title: string;
  /** Title of the y axis, with the unit. */
  y: string;
  /** Computes the range of the y axis from the values that it must contain, in the axis's unit. */
  domain: (values: readonly number[]) => [number, number];
  /** Conversion to the axis's unit: 100 for a percentage. */
  factor: number;
  /** A point in words. */
  tip: (point: Point) => string;
  /** A reference level, in the axis's unit. */
  level?: number;
  /** A word in the better corner. */
  corner?: string;
  /** Small print below a panel's heading. */
  note?: (site: string) => string | undefined;
  /** Name of the reference's points. */
  reference?: string;
}

const L0_MARGIN = { marginLeft: 46, marginRight: 14, marginTop: 44, marginBottom: 46 };
/** With more points than this, names are only shown in tooltips. */
const MOST_NAMED = 4;

/** Panels per row, and the size of each. */
function panelGrid(panels: number): { columns: number; width: number; height: number } {
  if (panels <= 1) return { columns: 1, width: 720, height: 430 };
  return panels === 2 ? { columns: 2, width: 480, height: 360 } : { columns: 3, width: FIGURE_WIDTH / 3, height: 310 };
}

/** Error bars: vertical for the value, horizontal for L0. */
function intervals(points: readonly Point[]): Markish[] {
  const ends = points.flatMap((point) => {
    const { l0, value, l0Interval: across, valueInterval: up, index } = point;
    const of = { stroke: styleColour(point.style), index };
    return [
      ...(up ? [{ ...of, x1: l0, x2: l0, y1: up[0], y2: up[1] }] : []),
      ...(across && across[0] > 0 ? [{ ...of, x1: across[0], x2: across[1], y1: value, y2: value }] : []),
    ];
  });
  return [
    link(ends, {
      x1: 'x1',
      x2: 'x2',
      y1: 'y1',
      y2: 'y2',
      stroke: { value: 'stroke', scale: null },
      strokeWidth: 1.2,
      strokeOpacity: 0.75,
      ...attributed(ends, ({ index }) => ({ 'data-sae': index, 'data-mark': 'interval' })),
    }),
  ];
}

/** The points that can be drawn, in the axis's unit. */
function inUnit(points: readonly Point[], factor: number): Point[] {
  return points.filter(drawable).map((point) => ({
    ...point,
    value: factor * point.value,
    valueInterval: point.valueInterval?.map((end) => factor * end) as Point['valueInterval'],
  }));
}

function l0Panel(id: string, points: readonly Point[], box: Box, heading: string | undefined, what: AgainstL0): Markup {
  const curves = familyCurves(points);
  const joined = curves.filter((curve) => curve.length > 1);
  const across = logDomain(
    points.flatMap(({ l0, l0Interval }) => [l0, ...(l0Interval ?? [])]),
    0.07,
    4,
  );
  const y = points.flatMap(({ value, valueInterval }) => [value, ...(valueInterval ?? [])]);
  const note = what.note === undefined || heading === undefined ? undefined : what.note(heading);
  // A hook without values keeps its panel, but without axis labels, since nothing was measured.
  const empty = points.length === 0;
  const yTitle = empty ? `${what.y}: no value here` : what.y;
  // Without a heading, only the axis title is above the plot.
  const marginTop = heading === undefined ? 26 : L0_MARGIN.marginTop;
  const room = box.width - L0_MARGIN.marginLeft - L0_MARGIN.marginRight;
  const own = points.filter(({ index }) => index !== null);
  const corner: Box = {
    x: L0_MARGIN.marginLeft,
    y: marginTop,
    width: what.corner === undefined ? 0 : 12 + textWidth(what.corner, FONT.small),
    height: 22,
  };
  return drawn(id, box, {
    ...L0_MARGIN,
    marginTop,
    x: {
      type: 'log',
      domain: across,
      label: null,
      ticks: empty ? [] : logTicks(across, room / 45),
      tickFormat: compact,
    },
    y: { domain: what.domain(y), label: null, ticks: empty ? [] : 6, grid: true },
    marks: [
      AXIS_LINES,
      what.level === undefined ? [] : ruleY([what.level], { strokeDasharray: '2 3', strokeOpacity: 0.8 }),
      // A reference is drawn below the report's own curves.
      [...joined].reverse().map((curve) =>
        line(curve, {
          x: 'l0',
          y: 'value',
          stroke: styleColour(curve[0]!.style),
          strokeWidth: 1.6,
          ...(curve[0]!.index === null ? { strokeDasharray: '4 3', strokeOpacity: 0.55 } : {}),
          ...attributed(curve, ({ index }) => ({ 'data-mark': index === null ? 'reference-curve' : 'curve' })),
        }),
      ),
      intervals(points),
      familySymbols(
        points.map((point) => ({
          x: point.l0,
          y: point.value,
          style: point.style,
          tip: what.tip(point),
          index: point.index,
          faint: point.index === null,
        })),
      ),
      own.length > 0 && own.length <= MOST_NAMED ? pointLabels(points, curves, corner) : [],
      titles({
        heading: heading === undefined ? undefined : fitted(heading, FONT.title, box.width - 4),
        x: 'L0 (active features per token)',
        y: note === undefined ? yTitle : `${yTitle} · ${note}`,
        left: L0_MARGIN.marginLeft,
        corner: empty ? undefined : what.corner,
      }),
    ],
  });
}

function keyItems(points: readonly Point[], reference: string | undefined): KeyItem[] {
  const curves = familyCurves(points);
  return curves.flatMap((curve, i) => {
    const { family, style, index } = curve[0]!;
    const same = (other: readonly Point[]) =>
      other[0]!.family === family && (other[0]!.index === null) === (index === null);
    if (curves.findIndex(same) !== i) return [];
    const line = curves.some((other) => same(other) && other.length > 1);
    const label = index === null ? `${family}, ${reference}` : family;
    return [{ label, style, faint: index === null, sign: line ? 'both' : 'symbol' }];
  });
}

/** A quantity against L0 (log axis), one panel per hook; lines join the SAEs of a family in order of L0. */
function againstL0(all: readonly Point[], what: AgainstL0): Markup {
  const sites = distinct(all.map(({ site }) => site));
  const points = inUnit(all, what.factor);
  const { columns, width, height } = panelGrid(sites.length);
  const legend = key(`${what.id}-key`, keyItems(points, what.reference), columns * width);
  const top = legend.height + (legend.height > 0 ? 8 : 0);
  const panels = sites.map((site, i) => {
    const box = { x: (i % columns) * width, y: top + Math.floor(i / columns) * height, width, height };
    const own = points.filter((point) => point.site === site);
    return l0Panel(`${what.id}-${i}`, own, box, sites.length > 1 ? site : undefined, what);
  });
  return figureSvg(
    {
      width: columns * width,
      height: top + Math.ceil(sites.length / columns) * height,
      id: what.id,
      title: what.title,
      description: points
        .filter(({ index }) => index !== null)
        .map((point) => `${what.tip(point)}.`)
        .join(' '),
    },
    markup`${legend.svg}${panels}`,
  );
}

/** A measured value of an SAE against its L0: a point in figures 1 and 2. */
export interface Point {
  /** Where it was measured: the panel. */
  site: string;
  /** Its curve. */
  family: string;
  style: number;
  /** Mean number of active features per token. */
  l0: number;
  value: number;
  /** 95 % intervals, if known. */
  l0Interval?: Interval;
  valueInterval?: Interval;
  name: string;
  /** The name, truncated if too long for a figure. */
  label: string;
  /** Why there is no value, if the evaluation says so. */
  reason?: string;
  /** Index of its SAE on the page; null for a reference point. */
  index: number | null;
}

/** The interval, if both ends are finite. */
function finiteInterval(interval: Interval | undefined): Interval | undefined {
  return interval?.every(Number.isFinite) ? interval : undefined;
}

/** The SAEs' points for one quantity of their records, by its key. */
export function pointsOf(
  entries: readonly Entry[],
  quantity: 'loss_recovered' | 'relative_reconstruction_bias',
): Point[] {
  const interval = (record: EvalRecord, name: string) => finiteInterval(record.intervals?.[name]);
  return entries.map(({ site, family, style, fullName, label, index, record }) => ({
    site,
    family,
    style,
    l0: record.l0,
    value: record[quantity],
    l0Interval: interval(record, 'l0'),
    valueInterval: interval(record, quantity),
    name: fullName,
    label,
    reason: record.reasons?.[quantity],
    index,
  }));
}

/** Can the point be placed on a log axis of L0? */
export function drawable({ l0, value }: Point): boolean {
  return l0 > 0 && Number.isFinite(l0) && Number.isFinite(value);
}

/** Points of one family at one hook, either the report's or the reference's, by ascending L0: one curve. */
function familyCurves(points: readonly Point[]): Point[][] {
  const curves = new Map<string, Point[]>();
  for (const point of points.filter(drawable)) {
    const curve = JSON.stringify([point.site, point.family, point.index === null]);
    curves.set(curve, [...(curves.get(curve) ?? []), point]);
  }
  return [...curves.values()].map((curve) => curve.sort((a, b) => a.l0 - b.l0));
}

/** Half the side of the square occupied by a symbol and its margin (pixels). */
const SYMBOL = 7;

/**
 * The names of points, as a mark placed next to them: none covers another, a symbol or the corner, and names that fit
 * nowhere are only shown in tooltips. Lines and intervals are avoided if possible.
 *
 * @param points of one panel, all drawable
 * @param curves the points joined by lines, in order
 */
function pointLabels(points: readonly Point[], curves: readonly (readonly Point[])[], corner: Box) {
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
    const group = context.document.createElementNS(SVG_NAMESPACE, 'g');
    for (const [i, placed] of placeLabels(
      requests,
      [...obstacles, corner],
      [...lines, ...intervals],
      bounds,
    ).entries()) {
      if (placed === null) continue;
      const { box, anchor, leader } = placed;
      if (leader !== null) {
        const line = context.document.createElementNS(SVG_NAMESPACE, 'path');
        line.setAttribute('d', `M${leader[0]} ${leader[1]}L${leader[2]} ${leader[3]}`);
        line.setAttribute('stroke', 'currentColor');
        line.setAttribute('stroke-opacity', '0.4');
        group.append(line);
      }
      const label = context.document.createElementNS(SVG_NAMESPACE, 'text');
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

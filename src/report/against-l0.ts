import { line, link, type Markish, ruleY } from '@observablehq/plot';
import { AXIS_LINES, attributed, type Box, drawn, FONT, figureSvg, fitted, textWidth, titles } from './chart.js';
import { logDomain, logTicks } from './domains.js';
import { distinct } from './entries.js';
import { compact } from './format.js';
import { type KeyItem, key } from './key.js';
import { type Markup, markup } from './markup.js';
import { pointLabels } from './point-labels.js';
import { curvesOf, drawable, type Point } from './points.js';
import { colour, dots } from './styles.js';

/** What a figure of a quantity against L0 says and shows beside its points. */
export interface AgainstL0 {
  id: string;
  title: string;
  /** Title of the y axis, with the unit. */
  y: string;
  /** The values that the y axis must hold, in the axis's unit → its ends. */
  domain: (values: readonly number[]) => [number, number];
  /** The value in the axis's unit: 100 for a percentage. */
  factor: number;
  /** A point in words. */
  tip: (point: Point) => string;
  /** A level to compare with, in the axis's unit. */
  level?: number;
  /** A word in the corner that is the better. */
  corner?: string;
  /** A line of small type below a panel's heading. */
  note?: (site: string) => string | undefined;
  /** What the points of the reference are called. */
  reference?: string;
}

const WIDTH = 960;
const MARGIN = { marginLeft: 46, marginRight: 14, marginTop: 44, marginBottom: 46 };
/** With more points than this, names of points are left to the tooltips. */
const NAMED = 4;

/** Panels of a row, and the size of each. */
function layout(panels: number): { columns: number; width: number; height: number } {
  if (panels <= 1) return { columns: 1, width: 720, height: 430 };
  return panels === 2 ? { columns: 2, width: 480, height: 360 } : { columns: 3, width: WIDTH / 3, height: 310 };
}

/** The lines that intervals are: vertical for the value, horizontal for L0. */
function intervals(points: readonly Point[]): Markish[] {
  const ends = points.flatMap((point) => {
    const { l0, value, l0Interval: across, valueInterval: up, index } = point;
    const of = { stroke: colour(point.style), index };
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

function panel(id: string, points: readonly Point[], box: Box, heading: string | undefined, what: AgainstL0): Markup {
  const curves = curvesOf(points);
  const joined = curves.filter((curve) => curve.length > 1);
  const across = logDomain(
    points.flatMap(({ l0, l0Interval }) => [l0, ...(l0Interval ?? [])]),
    0.07,
    4,
  );
  const y = points.flatMap(({ value, valueInterval }) => [value, ...(valueInterval ?? [])]);
  const note = what.note === undefined || heading === undefined ? undefined : what.note(heading);
  // A site without values keeps its panel, but bears no numbers that nothing was measured at.
  const empty = points.length === 0;
  const yTitle = empty ? `${what.y}: no value here` : what.y;
  // Without a heading there is only the title of the axis above the plot.
  const marginTop = heading === undefined ? 26 : MARGIN.marginTop;
  const room = box.width - MARGIN.marginLeft - MARGIN.marginRight;
  const own = points.filter(({ index }) => index !== null);
  const corner: Box = {
    x: MARGIN.marginLeft,
    y: marginTop,
    width: what.corner === undefined ? 0 : 12 + textWidth(what.corner, FONT.small),
    height: 22,
  };
  return drawn(id, box, {
    ...MARGIN,
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
      // A reference lies below the report's own curves.
      [...joined].reverse().map((curve) =>
        line(curve, {
          x: 'l0',
          y: 'value',
          stroke: colour(curve[0]!.style),
          strokeWidth: 1.6,
          ...(curve[0]!.index === null ? { strokeDasharray: '4 3', strokeOpacity: 0.55 } : {}),
          ...attributed(curve, ({ index }) => ({ 'data-mark': index === null ? 'reference-curve' : 'curve' })),
        }),
      ),
      intervals(points),
      dots(
        points.map((point) => ({
          x: point.l0,
          y: point.value,
          style: point.style,
          tip: what.tip(point),
          index: point.index,
          faint: point.index === null,
        })),
      ),
      own.length > 0 && own.length <= NAMED ? pointLabels(points, curves, corner) : [],
      titles({
        heading: heading === undefined ? undefined : fitted(heading, FONT.title, box.width - 4),
        x: 'L0 (active features per token)',
        y: note === undefined ? yTitle : `${yTitle} · ${note}`,
        left: MARGIN.marginLeft,
        corner: empty ? undefined : what.corner,
      }),
    ],
  });
}

function keyItems(points: readonly Point[], reference: string | undefined): KeyItem[] {
  const curves = curvesOf(points);
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

/** A quantity against L0 (log axis), a panel a site, the SAEs of a family joined in the order of their L0. */
export function againstL0(all: readonly Point[], what: AgainstL0): Markup {
  const sites = distinct(all.map(({ site }) => site));
  const points = inUnit(all, what.factor);
  const { columns, width, height } = layout(sites.length);
  const legend = key(`${what.id}-key`, keyItems(points, what.reference), columns * width);
  const top = legend.height + (legend.height > 0 ? 8 : 0);
  const panels = sites.map((site, i) => {
    const box = { x: (i % columns) * width, y: top + Math.floor(i / columns) * height, width, height };
    const own = points.filter((point) => point.site === site);
    return panel(`${what.id}-${i}`, own, box, sites.length > 1 ? site : undefined, what);
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

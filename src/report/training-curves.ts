import type { MetricsRecord } from '../train/metrics-record.js';
import { bucketMeans, type CurvePoint, withoutRepeats } from './downsample.js';
import { families, type Placed } from './entries.js';
import { compact, listed } from './format.js';
import { spread } from './labels.js';
import { type Markup, markup } from './markup.js';
import { extent, linearScale, logScale, padded, paddedLog, type Scale, wantsLog } from './scale.js';
import { axes, baseline, FONT, figureSvg, linePath, textWidth } from './svg.js';

/** Most points a line has. */
const POINTS = 400;
/** With this many lines or fewer every panel names them; with more, the panels of the left column do. */
const LABEL_EVERY_PANEL = 4;
/** With more lines than this, only the largest and the smallest L0 of an architecture are named. */
const LABEL_EVERY_LINE = 24;
const WIDTH = 960;
const LEFT = 50;
const TOP = 34;
const BOTTOM = 26;

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
      value: (line) => 100 * line.dead_fraction,
      log: 'never',
      fromZero: true,
      cutStart: false,
    },
  ],
  [{ title: 'Learning rate', value: (line) => line.lr, log: 'never', fromZero: true, cutStart: false }],
];

interface Line {
  entry: Placed;
  points: CurvePoint[];
}

interface Frame {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** The y scale of a panel, in pixels from `range[0]` (below) to `range[1]`. */
function yScale(lines: readonly Line[], quantity: Quantity, range: readonly [number, number]): Scale {
  const end = extent(lines.flatMap(({ points }) => points.map(({ tokens }) => tokens)))?.[1] ?? 0;
  const shown = lines.flatMap(({ points }) =>
    points.filter(({ tokens }) => !quantity.cutStart || tokens >= end / 20).map(({ value }) => value),
  );
  const positive = shown.filter((value) => value > 0);
  const span = extent(shown) ?? [0, 1];
  const ticks = Math.abs(range[0] - range[1]) / 34;
  if (positive.length > 0 && (quantity.log === 'always' || (quantity.log === 'wide' && wantsLog(shown)))) {
    return logScale(paddedLog(extent(positive) ?? [1, 10], 0.05), range, ticks);
  }
  const [low, high] = padded(span, 0.06);
  return linearScale(
    quantity.fromZero && span[0] >= 0 ? [0, Math.max(high, span[1] * 1.06)] : [low, high],
    range,
    ticks,
  );
}

/** Lines that are named in a panel: all, or where they are many, the ends of each family. */
function named(lines: readonly Line[]): readonly Line[] {
  if (lines.length <= LABEL_EVERY_LINE) return lines;
  const ends = families(lines.map(({ entry }) => entry)).flatMap((family) => [family[0], family.at(-1)]);
  return lines.filter(({ entry }) => ends.includes(entry));
}

function endLabels(lines: readonly Line[], frame: Frame, y: Scale, x: Scale): Markup[] {
  const ends = named(lines).flatMap(({ entry, points }) => {
    const last = points.findLast(({ value }) => Number.isFinite(y(value)));
    return last === undefined ? [] : [{ entry, x: x(last.tokens), y: y(last.value) }];
  });
  const [low, high] = [frame.top - 8, frame.top + frame.height - 6];
  const clamped = ends.map((end) => Math.max(frame.top, Math.min(frame.top + frame.height, end.y)));
  const places = spread(clamped, FONT.small + 1.5, low, high);
  const right = frame.left + frame.width;
  return ends.map(({ entry, x: endX }, i) => {
    const [from, to] = [clamped[i]!, places[i]!];
    const leader = markup`<path class="leader" d="M${endX + 2} ${from}H${right + 4}L${right + 13} ${to}"/>`;
    const text = markup`<text class="point-label" x="${right + 16}" y="${baseline(to, FONT.small)}">${entry.label}</text>`;
    return markup`<g data-sae="${entry.index}">${leader}${text}</g>`;
  });
}

function panel(lines: readonly Line[], quantity: Quantity, frame: Frame, labelled: boolean, clip: string): Markup {
  const seen = extent(lines.flatMap(({ points }) => points.map(({ tokens }) => tokens))) ?? [0, 1];
  const x = linearScale([0, seen[1] || 1], [frame.left, frame.left + frame.width], frame.width / 80);
  const y = yScale(lines, quantity, [frame.top + frame.height, frame.top]);
  // Strong lines last, on top.
  const drawn = [...lines].reverse().map(({ entry, points }) => {
    // What a log axis has no place for is not finite once scaled, a gap.
    const path = linePath(points.map(({ tokens, value }) => [x(tokens), y(value)] as const));
    const strength = markup`stroke-opacity="${entry.strength}"`;
    const id = `${clip}-${entry.index}`;
    // A second, wide, unseen stroke of the same path is what a pointer can hit (--hit-width and --hit-stroke).
    return markup`<g data-sae="${entry.index}"><path id="${id}" class="line style-${entry.style}" ${strength} d="${path}"/><use class="hit" href="#${id}"><title>${entry.name}</title></use></g>`;
  });
  const title = `${quantity.title}${y.kind === 'log10' ? ' (log scale)' : ''}`;
  return markup`<clipPath id="${clip}"><rect x="${frame.left}" y="${frame.top - 2}" width="${frame.width + 2}" height="${frame.height + 2}"/></clipPath>
<g>${axes(x, y, { y: title })}<g clip-path="url(#${clip})">${drawn}</g>${labelled ? endLabels(lines, frame, y, x) : null}</g>`;
}

/** Which colour is which architecture, and what its lines' strength means. */
function key(entries: readonly Placed[], left: number, top: number): Markup {
  const all = families(entries);
  const text = left + 14 * Math.max(...all.map((family) => family.length)) + 6;
  const rows = all.map((family, i) => {
    const y = top + i * 20;
    const { record, style, site } = family[0]!;
    const several = all.filter(([other]) => other!.record.architecture === record.architecture).length > 1;
    const swatches = family.map(
      ({ strength }, k) =>
        markup`<path class="line style-${style}" stroke-opacity="${strength}" d="M${left + k * 14} ${y}h11"/>`,
    );
    const sizes = family.map((entry) => entry.record.l0).filter(Number.isFinite);
    const range = sizes.length > 1 ? `, L0 ${compact(sizes[0]!)} to ${compact(sizes.at(-1)!)}` : '';
    const legend = `${record.architecture}${several ? ` at ${site}` : ''}${range}`;
    return markup`${swatches}<text class="point-label" x="${text}" y="${baseline(y, FONT.small)}">${legend}</text>`;
  });
  return markup`<g>${rows}</g>`;
}

/** The SAEs that came without a training curve. */
export function withoutCurve(entries: readonly Placed[]): Placed[] {
  return entries.filter(({ curve }) => curve.length === 0);
}

/** Figure 2: L0, explained variance, loss, dead features and learning rate against activations seen; null without curves. */
export function trainingCurvesFigure(entries: readonly Placed[]): Markup | null {
  const trained = entries.filter(({ curve }) => curve.length > 0);
  if (trained.length === 0) return null;
  const curves = trained.map((entry) => ({ entry, lines: withoutRepeats(entry.curve) }));
  const everyPanel = trained.length <= LABEL_EVERY_PANEL;
  const gutter = 22 + Math.max(...trained.map(({ label }) => textWidth(label, FONT.small)));
  const lastGutter = everyPanel ? gutter : 14;
  const plotWidth = (WIDTH - 2 * LEFT - gutter - lastGutter) / 2;
  const tall = Math.max(150, (FONT.small + 1.5) * Math.min(trained.length, LABEL_EVERY_LINE));
  // Where every line is named in every panel, and by its architecture, colours need no key.
  const plain = everyPanel && trained.every(({ label, record }) => label.includes(record.architecture));
  let top = TOP;
  const rows = QUANTITIES.map((row, r) => {
    const height = row.length > 1 ? tall : 74;
    const panels = row.map((quantity, c) => {
      const frame = { left: LEFT + c * (plotWidth + gutter + LEFT), top, width: plotWidth, height };
      const lines = curves.map(({ entry, lines: records }) => ({
        entry,
        points: bucketMeans(
          records.map((line) => ({ tokens: line.tokens, value: quantity.value(line) })),
          POINTS,
        ),
      }));
      const labelled = row.length > 1 && (everyPanel || c === 0);
      return panel(lines, quantity, frame, labelled, `figure-2-${r}${c}`);
    });
    const beside = row.length > 1 || plain ? null : key(trained, LEFT + plotWidth + gutter + LEFT, top + 8);
    top += height + BOTTOM + TOP;
    return [panels, beside];
  });
  // The last row is as tall as the key needs.
  const bottom = Math.max(top - TOP + 18, top - TOP - BOTTOM - 74 + 20 * families(trained).length + 8);
  const seen = markup`<text class="axis-title middle" x="${LEFT + plotWidth / 2}" y="${top - TOP + 9}">Activations seen</text>`;
  return figureSvg(
    {
      width: WIDTH,
      height: bottom,
      id: 'figure-2',
      title: 'Training curves',
      description: `L0, explained variance, loss, dead features and learning rate against activations seen, for ${listed(trained.map(({ name }) => name))}.`,
    },
    [rows, seen],
  );
}

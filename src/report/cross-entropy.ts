import { link, ruleX, text } from '@observablehq/plot';
import { attributed, drawn, FIGURE_WIDTH, FONT, figureSvg, textWidth } from './chart.js';
import { distinct, type Entry } from './entries.js';
import { familySymbols, styleColour } from './family-styles.js';
import { compact, fixed, logDomain, logTicks, percent } from './numbers-and-axes.js';
import type { Markup } from './page.js';

const ROW_HEIGHT = 22;
const HEAD_HEIGHT = 48;
const FOOT_HEIGHT = 26;
const COLUMN_WIDTH = 82;

/** Increase of the clean model's cross-entropy by splicing the SAE in, and by ablating its hook (nats per token). */
function addedLoss({ record }: Entry): { spliced: number; zero: number } {
  return { spliced: record.ce_spliced - record.ce_clean, zero: record.ce_zero - record.ce_clean };
}

/** The number columns at the right, and their headers. */
const NUMBER_COLUMNS: readonly { head: string; cell: (entry: Entry) => string }[] = [
  { head: 'clean\n(nats)', cell: ({ record }) => fixed(record.ce_clean, 3) },
  { head: 'spliced\n(nats)', cell: ({ record }) => fixed(record.ce_spliced, 3) },
  { head: 'zero-ablated\n(nats)', cell: ({ record }) => fixed(record.ce_zero, 3) },
  { head: 'recovered\n(%)', cell: ({ record }) => percent(record.loss_recovered, 2) },
];

/** A row of the figure as drawn: null if a value does not fit on a log axis. */
interface Row {
  entry: Entry;
  /** Its row number, counting headings. */
  at: number;
  spliced: number | null;
  zero: number | null;
  tip: string;
}

const positiveOrNull = (value: number) => (value > 0 ? value : null);

/** The rows in order, with a heading before each hook's if there are several. */
function figureRows(entries: readonly Entry[]): {
  rows: Row[];
  headings: { site: string; at: number }[];
  count: number;
} {
  const sites = distinct(entries.map(({ site }) => site));
  const rows: Row[] = [];
  const headings: { site: string; at: number }[] = [];
  let at = 0;
  for (const site of sites) {
    if (sites.length > 1) headings.push({ site, at: at++ });
    for (const entry of entries.filter((other) => other.site === site)) {
      const { spliced, zero } = addedLoss(entry);
      const tip = `${entry.name}: ${fixed(spliced, 4)} nats added by splicing, ${fixed(zero, 4)} by zero-ablation`;
      rows.push({ entry, at: at++, spliced: positiveOrNull(spliced), zero: positiveOrNull(zero), tip });
    }
  }
  return { rows, headings, count: at };
}

/** Positions: names at the left, a log axis, number columns at the right. */
interface Frame {
  readonly rows: Row[];
  readonly headings: { site: string; at: number }[];
  /** Number of rows, counting headings. */
  readonly count: number;
  readonly marginLeft: number;
  readonly marginRight: number;
  readonly height: number;
  readonly domain: [number, number];
  readonly ticks: number[];
}

function frameOf(entries: readonly Entry[]): Frame {
  const { rows, headings, count } = figureRows(entries);
  const names = 26 + Math.max(60, ...entries.map(({ label }) => textWidth(label, FONT.label)));
  const marginLeft = names + 20;
  const numbers = NUMBER_COLUMNS.length * COLUMN_WIDTH;
  const domain = logDomain(
    rows.flatMap(({ spliced, zero }) => [spliced ?? 0, zero ?? 0]),
    0.04,
  );
  const ticks = logTicks(domain, (FIGURE_WIDTH - marginLeft - numbers) / 45);
  const height = HEAD_HEIGHT + count * ROW_HEIGHT + FOOT_HEIGHT;
  return { rows, headings, count, marginLeft, marginRight: numbers + 14, height, domain, ticks };
}

const LEFT = { frameAnchor: 'left', textAnchor: 'start', fontSize: FONT.label } as const;
const ABOVE = { frameAnchor: 'top-left', lineAnchor: 'bottom', textAnchor: 'start' } as const;
const rowAttributes = ({ entry }: Row) => ({ 'data-sae': entry.index });
const rowColour = { value: ({ entry }: Row) => styleColour(entry.style), scale: null } as const;

function nameMarks({ rows, headings, marginLeft }: Frame) {
  const label = ({ entry }: Row) => entry.label;
  return [
    text(headings, { ...LEFT, y: 'at', text: 'site', dx: -marginLeft, fontWeight: 600 }),
    text(rows, { ...LEFT, y: 'at', text: label, dx: 18 - marginLeft, ...attributed(rows, rowAttributes) }),
  ];
}

/** The spliced loss as a symbol with its interval, the zero-ablated loss as the end of a bar. */
function lossMarks({ rows, domain }: Frame) {
  const bars = rows.filter(({ entry, zero }) => zero !== null && !Number.isNaN(addedLoss(entry).spliced));
  const ends = rows.filter(({ zero }) => zero !== null);
  const still = rows.filter(({ entry }) => addedLoss(entry).spliced <= 0);
  const intervals = rows.flatMap((row) => {
    const [low, high] = row.entry.record.intervals?.delta_ce ?? [];
    return low !== undefined && high !== undefined && high > 0 ? [{ ...row, low: Math.max(low, domain[0]), high }] : [];
  });
  return [
    link(bars, {
      x1: ({ spliced }: Row) => spliced ?? domain[0],
      x2: 'zero',
      y: 'at',
      stroke: rowColour,
      strokeWidth: 2,
      strokeOpacity: 0.5,
      title: 'tip',
      ...attributed(bars, (row) => ({ ...rowAttributes(row), 'data-mark': 'recovered' })),
    }),
    link(intervals, {
      x1: 'low',
      x2: 'high',
      y: 'at',
      stroke: rowColour,
      strokeWidth: 6,
      strokeOpacity: 0.35,
      ...attributed(intervals, (row) => ({ ...rowAttributes(row), 'data-mark': 'interval' })),
    }),
    ruleX(ends, {
      x: 'zero',
      y1: ({ at }: Row) => at - 0.24,
      y2: ({ at }: Row) => at + 0.24,
      strokeWidth: 1.5,
      ...attributed(ends, (row) => ({ ...rowAttributes(row), 'data-mark': 'zero' })),
    }),
    familySymbols(
      rows.flatMap(({ entry, at, spliced, tip }) =>
        spliced === null ? [] : [{ x: spliced, y: at, style: entry.style, tip, index: entry.index }],
      ),
    ),
    // A log axis has no place for a loss that splicing did not raise: an arrow at its left end represents it.
    text(still, { ...LEFT, y: 'at', text: () => '◂', dx: -10, title: 'tip', ...attributed(still, rowAttributes) }),
  ];
}

function numberMarks({ rows, marginRight }: Frame) {
  return NUMBER_COLUMNS.map(({ head, cell }, i) => {
    const dx = marginRight - (NUMBER_COLUMNS.length - 1 - i) * COLUMN_WIDTH;
    return [
      text([head], { frameAnchor: 'top-right', lineAnchor: 'bottom', textAnchor: 'end', dx, dy: -6 }),
      text(rows, {
        frameAnchor: 'right',
        textAnchor: 'end',
        y: 'at',
        dx,
        text: ({ entry }: Row) => cell(entry),
        fontVariant: 'tabular-nums',
        ...attributed(rows, rowAttributes),
      }),
    ];
  });
}

/** The figure in words. */
function figureInWords(entries: readonly Entry[]): string {
  const sentences = entries.map(({ fullName, record }) => {
    const { ce_clean: clean, ce_spliced: spliced, ce_zero: zero } = record;
    return `${fullName}: clean ${fixed(clean, 3)}, spliced ${fixed(spliced, 3)}, zero-ablated ${fixed(zero, 3)} nats.`;
  });
  return sentences.join(' ');
}

/**
 * The cross-entropy figure: one row per SAE. On a log axis of nats above the clean model, the spliced loss (symbol) and
 * the zero-ablated loss (end of the bar): the two may differ by a factor of a thousand, which a linear axis cannot
 * show. The length of the bar is −log(1 − loss recovered).
 */
export function crossEntropyFigure(entries: readonly Entry[], id: string): Markup {
  const frame = frameOf(entries);
  const { count, marginLeft, marginRight, height, domain, ticks } = frame;
  const svg = drawn(
    id,
    { x: 0, y: 0, width: FIGURE_WIDTH, height },
    {
      marginLeft,
      marginRight,
      marginTop: HEAD_HEIGHT,
      marginBottom: FOOT_HEIGHT,
      x: { type: 'log', domain, label: null, ticks, tickFormat: compact, grid: true },
      y: { domain: [-0.5, count - 0.5], reverse: true, axis: null },
      marks: [
        ...nameMarks(frame),
        ...lossMarks(frame),
        ...numberMarks(frame),
        text(['Loss added to the clean model (nats per token)'], { ...ABOVE, dy: -20, fontSize: FONT.label }),
        text(['symbol: SAE spliced in; end of the bar: zero-ablated'], { ...ABOVE, dy: -6, fillOpacity: 0.7 }),
      ],
    },
  );
  const title = 'Cross-entropy: clean, spliced and zero-ablated';
  return figureSvg({ width: FIGURE_WIDTH, height, id, title, description: figureInWords(entries) }, svg);
}

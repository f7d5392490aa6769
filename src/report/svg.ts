import { type Markup, markup, type Part } from './markup.js';
import type { Scale } from './scale.js';

/** A rectangle of the figure, in pixels from its upper left corner. */
export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Sizes of type in figures (pixels). */
export const FONT = { title: 13, label: 12, small: 11 } as const;

/**
 * About how wide `text` is in a sans-serif face, on the wide side: the page does not bring a font of its own, so that
 * labels must keep apart in whichever face the reader has.
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

/** y of the baseline of text whose middle is at `middle`. (dominant-baseline is not known to every SVG editor.) */
export function baseline(middle: number, size: number): number {
  return middle + 0.35 * size;
}

/** The root of a figure: named for screen readers, as wide as its column at most. */
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
  content: Part,
): Markup {
  const style = `max-width:${Math.ceil(width)}px;min-width:${Math.ceil(width * 0.72)}px`;
  return markup`<svg class="plot" role="img" id="${id}" aria-labelledby="${id}-title ${id}-desc" viewBox="0 0 ${width} ${height}" style="${style}">
<title id="${id}-title">${title}</title>
<desc id="${id}-desc">${description}</desc>
${content}
</svg>`;
}

/** Paths of area about 60 px² around (0, 0), one an architecture, so that colour is never the only sign. */
const MARKERS = [
  'M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z',
  'M-4-4h8v8h-8z',
  'M0-5.8L5.8 0L0 5.8L-5.8 0z',
  'M0-5.6L5.6 4.2H-5.6z',
  'M0 5.6L5.6-4.2H-5.6z',
  'M-1.8-5.4h3.6v3.6h3.6v3.6h-3.6v3.6h-3.6v-3.6h-3.6v-3.6h3.6z',
];

/** Number of styles (colour and marker) there are for architectures. */
export const STYLES = MARKERS.length;

/** The marker of an architecture's style at (x, y). `tip` is what a pointer resting on it reads. */
export function marker(x: number, y: number, style: number, tip?: string): Markup {
  const path = MARKERS[style % STYLES] ?? '';
  const title = tip === undefined ? null : markup`<title>${tip}</title>`;
  return markup`<path class="mark style-${style}" transform="translate(${x} ${y})" d="${path}">${title}</path>`;
}

/** Points as a path; a point that is not finite ends a piece of the line. A piece of one point is drawn as a dot. */
export function linePath(points: Iterable<readonly [number, number]>): string {
  const pieces: string[][] = [[]];
  for (const [x, y] of points) {
    if (Number.isFinite(x) && Number.isFinite(y)) pieces.at(-1)?.push(`${x.toFixed(1)} ${y.toFixed(1)}`);
    else if (pieces.at(-1)?.length) pieces.push([]);
  }
  return pieces
    .filter((piece) => piece.length > 0)
    .map((piece) => `M${piece.length === 1 ? [...piece, ...piece].join('L') : piece.join('L')}`)
    .join('');
}

/** What stands around a plot. Titles are horizontal: the y title is above the axis. */
export interface AxisTitles {
  x?: string;
  y?: string;
  /** Leave out the numbers along an axis that a neighbouring panel already has. */
  xLabels?: boolean;
  yLabels?: boolean;
}

/** Thin axes on the left and below, a faint line for each y tick, numbers and titles. */
export function axes(x: Scale, y: Scale, { x: xTitle, y: yTitle, xLabels = true, yLabels = true }: AxisTitles): Markup {
  const [left, right] = x.range;
  const [bottom, top] = y.range;
  const horizontal = y.ticks.map(({ value, label }) => {
    const at = y(value);
    const grid = label === '' ? null : markup`<path class="grid" d="M${left} ${at}H${right}"/>`;
    const text = yLabels
      ? markup`<text class="tick end" x="${left - 8}" y="${baseline(at, FONT.small)}">${label}</text>`
      : null;
    return [
      grid,
      markup`<path class="axis" d="M${left} ${at}h-${label === '' ? 2.5 : 4}"/>`,
      label === '' ? null : text,
    ];
  });
  const vertical = x.ticks.map(({ value, label }) => {
    const at = x(value);
    const text =
      xLabels && label !== '' ? markup`<text class="tick middle" x="${at}" y="${bottom + 17}">${label}</text>` : null;
    return [markup`<path class="axis" d="M${at} ${bottom}v${label === '' ? 2.5 : 4}"/>`, text];
  });
  const titles = [
    xTitle === undefined
      ? null
      : markup`<text class="axis-title middle" x="${(left + right) / 2}" y="${bottom + 35}">${xTitle}</text>`,
    yTitle === undefined ? null : markup`<text class="axis-title" x="${left}" y="${top - 9}">${yTitle}</text>`,
  ];
  return markup`<g>${horizontal}${vertical}<path class="axis" d="M${left} ${top}V${bottom}H${right}"/>${titles}</g>`;
}

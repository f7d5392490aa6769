import { frame, type Markish, type PlotOptions, plot, text } from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { Markup, markup, type Part, withoutForbidden } from './markup.js';

/** Where Plot makes its elements: there is no browser when a report is built. */
const { document } = parseHTML('<!doctype html><html></html>');

/** A rectangle of a figure, in pixels from its upper left corner. */
export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Sizes of type in figures (pixels). */
export const FONT = { title: 12, label: 11.5, small: 11 } as const;

/** An element as far as it is touched here; the library's types are the browser's, which this program has not. */
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

/** Attributes that hold coordinates. */
const GEOMETRY = /^(x|y|x1|x2|y1|y2|cx|cy|r|width|height|d|transform)$/;

/** Coordinates to a hundredth of a pixel: sixteen digits say no more and make the page twice as long. */
function rounded(value: string): string {
  return value.replace(/-?\d+\.\d{3,}(e-?\d+)?/g, (number) => String(Math.round(Number(number) * 100) / 100));
}

/** Ids that are the figure's own, and equal from run to run: Plot counts its clip paths over the life of the program. */
function renamedIds(text: string, prefix: string): string {
  const names = new Map<string, string>();
  return text.replace(/plot-clip-\d+/g, (name) => {
    if (!names.has(name)) names.set(name, `${prefix}-clip-${names.size}`);
    return names.get(name)!;
  });
}

/** The axes' lines, left and below, which Plot leaves out. */
export const AXIS_LINES: Markish[] = [
  frame({ anchor: 'left', strokeOpacity: 0.45 }),
  frame({ anchor: 'bottom', strokeOpacity: 0.45 }),
];

/** What stands around a plot: its heading, the axes' titles, both of them level, and a word inside its corner. */
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
 * One plot, at its place in a figure. Colours are the page's variables and currentColor, so that it follows the
 * reader's theme; what shows is said by attributes alone, so that it can leave the page.
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

/** What a mark is drawn from, as Plot keeps it with the element: its place in the data, or those of a line's points. */
function placeOf(element: Drawn): number | undefined {
  const bound = (element as { __data__?: number | readonly number[] }).__data__;
  return typeof bound === 'number' ? bound : bound?.[0];
}

const MARKS = 'path, rect, line, circle, text';

/**
 * For the options of a mark: gives each of its elements attributes by what it is drawn from. `data-sae`, the number of
 * its SAE, lets a pointer on one fade the others in every figure; `data-mark` says what it shows.
 */
export function attributed<T>(
  data: readonly T[],
  attributes: (item: T) => Readonly<Record<string, string | number | null>>,
) {
  // biome-ignore lint/suspicious/noExplicitAny: Plot's own signature, whose types are a browser's
  const render = (index: any, scales: any, values: any, dimensions: any, context: any, next: any) => {
    const group = next(index, scales, values, dimensions, context) as Drawn;
    for (const element of group.querySelectorAll(MARKS)) {
      const place = placeOf(element);
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

/** The text, cut in the middle where it would be wider than `width`. */
export function fitted(text: string, size: number, width: number): string {
  if (textWidth(text, size) <= width) return text;
  for (let kept = [...text].length - 1; kept > 2; kept--) {
    const shorter = cut(text, kept);
    if (textWidth(shorter, size) <= width) return shorter;
  }
  return '…';
}

/** The text without its middle, `kept` characters of it, more of them from its end. */
export function cut(text: string, kept: number): string {
  // By code points: half a surrogate pair is not a character.
  const characters = [...text];
  const tail = Math.ceil(kept * 0.6);
  return `${characters.slice(0, kept - tail).join('')}…${characters.slice(-tail).join('')}`;
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

import { dot, type Markish } from '@observablehq/plot';
import { attributed, drawn } from './chart.js';
import type { Markup } from './markup.js';

/** A symbol for each colour, so that colour is never the only sign. All have the same area. */
const SYMBOLS = ['circle', 'square', 'diamond2', 'triangle', 'star', 'cross'] as const;

/** Number of styles (colour and symbol) there are for families. */
export const STYLES = SYMBOLS.length;

/** Radius of a circle as large as a symbol (pixels). */
const RADIUS = 4.3;

/** The colour of a style: a variable of the page, which has one for light and one for dark ground. */
export function colour(style: number): string {
  return `var(--style-${style % STYLES})`;
}

/** What is drawn at a point. */
export interface Dot {
  x: number;
  y: number | string;
  style: number;
  /** What a pointer resting on it reads. */
  tip?: string;
  /** Number of its SAE on the page. */
  index?: number | null;
  /** Of a reference: drawn hollow and faint. */
  faint?: boolean;
}

/** Symbols at points, each in the colour and shape of its style. */
export function dots(points: readonly Dot[]): Markish[] {
  const kinds = [true, false].flatMap((faint) => SYMBOLS.map((symbol, style) => ({ faint, symbol, style })));
  return kinds.flatMap(({ faint, symbol, style }) => {
    const own = points.filter((point) => point.style % STYLES === style && (point.faint ?? false) === faint);
    if (own.length === 0) return [];
    return [
      dot(own, {
        x: 'x',
        y: 'y',
        symbol,
        r: RADIUS,
        fill: faint ? 'var(--paper)' : colour(style),
        stroke: faint ? colour(style) : 'var(--paper)',
        strokeWidth: faint ? 1.3 : 1,
        opacity: faint ? 0.6 : 1,
        title: ({ tip }: Dot) => tip ?? null,
        ...attributed(own, ({ index, faint: reference }) => ({
          'data-sae': index ?? null,
          'data-mark': reference ? 'reference' : 'point',
        })),
      }),
    ];
  });
}

/** A family's symbol alone, for a line of text or a cell. */
export function inlineMarker(style: number): Markup {
  return drawn(
    'inline',
    { x: 0, y: 0, width: 14, height: 14 },
    {
      axis: null,
      margin: 0,
      x: { type: 'identity' },
      y: { type: 'identity' },
      marks: dots([{ x: 7, y: 7, style }]),
    },
  );
}

import { dot, type Markish } from '@observablehq/plot';
import { attributed, drawn } from './chart.js';
import { MAIN_FAMILIES } from './family.js';
import type { Markup } from './markup.js';

/** Colour is never the only sign. All have the same area. */
const SYMBOLS = ['circle', 'square', 'diamond2', 'triangle', 'star', 'cross'] as const;

/** Colours of the page that the families beside the main ones take turns at, from this one on. */
const TURNING = MAIN_FAMILIES.length;
const EACH_TURN = SYMBOLS.length - TURNING;
/** Symbols that a colour has in its turns: every second one, so that a turn is unlike the one before. */
const STEP = 2;

/** Number of styles (pairs of colour and symbol) there are for families. */
export const STYLES = TURNING + (EACH_TURN * SYMBOLS.length) / STEP;

const hue = (style: number) => (style < TURNING ? style : TURNING + ((style - TURNING) % EACH_TURN));

function symbolOf(style: number): (typeof SYMBOLS)[number] {
  const turn = style < TURNING ? 0 : Math.floor((style - TURNING) / EACH_TURN);
  return SYMBOLS[(hue(style) + turn * STEP) % SYMBOLS.length]!;
}

/** Radius of a circle as large as a symbol (pixels). */
const RADIUS = 4.3;

/** The colour of a style: a variable of the page, which has one for light and one for dark ground. */
export function colour(style: number): string {
  return `var(--style-${hue(style)})`;
}

/** Colours of a ramp of settings, of the page. */
const TONES = 8;

/** The colour of an SAE's lines: its place on the ramp where it has one, else its family's. */
export function lineColour({ style, tone }: { style: number; tone: number | null }): string {
  return tone === null ? colour(style) : `var(--tone-${Math.round(tone * (TONES - 1))})`;
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
  /** Instead of its style's colour. */
  fill?: string;
  /** Of a reference: drawn hollow and faint. */
  faint?: boolean;
}

/** Symbols at points, each in the colour and shape of its style. */
export function dots(points: readonly Dot[]): Markish[] {
  const styles = [...new Set(points.map(({ style }) => style))].sort((a, b) => a - b);
  const kinds = [true, false].flatMap((faint) => styles.map((style) => ({ faint, style })));
  return kinds.flatMap(({ faint, style }) => {
    const own = points.filter((point) => point.style === style && (point.faint ?? false) === faint);
    if (own.length === 0) return [];
    return [
      dot(own, {
        x: 'x',
        y: 'y',
        symbol: symbolOf(style),
        r: RADIUS,
        fill: faint ? 'var(--paper)' : { value: ({ fill }: Dot) => fill ?? colour(style), scale: null },
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
export function inlineMarker(style: number, fill?: string): Markup {
  return drawn(
    'inline',
    { x: 0, y: 0, width: 14, height: 14 },
    {
      axis: null,
      margin: 0,
      x: { type: 'identity' },
      y: { type: 'identity' },
      marks: dots([{ x: 7, y: 7, style, fill }]),
    },
  );
}

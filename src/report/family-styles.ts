import { dot, link, type Markish, text } from '@observablehq/plot';
import { listed } from '../config/suggest.js';
import type { EvalRecord } from '../eval/record.js';
import { ARCHITECTURES, architectureNamed } from '../sae/registry.js';
import type { ArchitectureName } from '../sae/sae.js';
import { trainingRecordOf } from '../sae/training-record.js';
import { transcoderName } from '../sae/transcoder-names.js';
import { attributed, drawn, FONT, textWidth } from './chart.js';
import type { Markup } from './page.js';

/**
 * The family of an SAE: its architecture, and how it was made if unusual. SAEs of one family at one hook form a curve.
 *
 * "gated"; "gated, zero start" (--start zero); "gated, no r_mag" (an ablation of section 5.1); "standard, rescaled & shifted" (the frozen baseline with
 * learned r_mag and b_mag of section 5.2, which is saved as a gated SAE); "gated skip transcoder".
 */
export function familyOf({ architecture, cfg }: Pick<EvalRecord, 'architecture' | 'cfg'>): string {
  const made = trainingRecordOf(cfg);
  const trained = made.train ?? [];
  const only = trained.length > 0 ? [`only ${listed(trained)} trained`] : [];
  const known = architectureNamed(architecture);
  const [label, ...rest] = known?.look.family?.(made, trained, only) ?? [known?.look.label ?? architecture, ...only];
  const start = made.start === 'zero' ? ['zero start'] : [];
  return [`${label}${known ? transcoderKind(known.name, cfg.architecture) : ''}`, ...rest, ...start].join(', ');
}

/** The part of a name that gives the kind of transcoder; empty if it is none. */
function transcoderKind(architecture: ArchitectureName, name: unknown): string {
  if (name === transcoderName({ architecture })) return ' transcoder';
  return name === transcoderName({ architecture, skip: true }) ? ' skip transcoder' : '';
}

/** The families with the same colours on every page: those of architectures with a palette index. */
export const MAIN_FAMILIES: readonly string[] = Object.values(ARCHITECTURES)
  .flatMap(({ look }) => (look.colour === undefined ? [] : [{ label: look.label, place: look.colour }]))
  .sort((a, b) => a.place - b.place)
  .map(({ label }) => label);

/** The two families whose firing features figure 1 compares: the first relative to the second. */
export const COMPARED = MAIN_FAMILIES.slice(0, 2) as [string, string];

/** Colour is never the only distinction. All symbols have the same area. */
const SYMBOLS = ['circle', 'square', 'diamond2', 'triangle', 'star', 'cross'] as const;

/** First of the colours that the other families share in turn. */
const TURNING = MAIN_FAMILIES.length;
const EACH_TURN = SYMBOLS.length - TURNING;
/** Symbols of a colour in successive turns: every second one, so that successive turns differ. */
const KEY_STEP = 2;

/** Number of styles (pairs of colour and symbol). */
export const STYLES = TURNING + (EACH_TURN * SYMBOLS.length) / KEY_STEP;

const hue = (style: number) => (style < TURNING ? style : TURNING + ((style - TURNING) % EACH_TURN));

function symbolOf(style: number): (typeof SYMBOLS)[number] {
  const turn = style < TURNING ? 0 : Math.floor((style - TURNING) / EACH_TURN);
  return SYMBOLS[(hue(style) + turn * KEY_STEP) % SYMBOLS.length]!;
}

/** Radius of a circle with the area of a symbol (pixels). */
const RADIUS = 4.3;

/** The colour of a style: a variable of the page, with values for light and dark backgrounds. */
export function styleColour(style: number): string {
  return `var(--style-${hue(style)})`;
}

/** Number of colours in the page's ramp for settings. */
const TONES = 8;

/** The colour of an SAE's lines: its position on the ramp if it has one, otherwise its family's. */
export function lineColour({ style, tone }: { style: number; tone: number | null }): string {
  return tone === null ? styleColour(style) : `var(--tone-${Math.round(tone * (TONES - 1))})`;
}

/** A symbol at a point. */
interface Dot {
  x: number;
  y: number | string;
  style: number;
  /** Text of its tooltip. */
  tip?: string;
  /** Index of its SAE on the page. */
  index?: number | null;
  /** Overrides its style's colour. */
  fill?: string;
  /** For a reference: drawn hollow and faint. */
  faint?: boolean;
}

/** Symbols at points, each in its style's colour and shape. */
export function familySymbols(points: readonly Dot[]): Markish[] {
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
        fill: faint ? 'var(--paper)' : { value: ({ fill }: Dot) => fill ?? styleColour(style), scale: null },
        stroke: faint ? styleColour(style) : 'var(--paper)',
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

/** A family's symbol by itself, for text or table cells. */
export function inlineMarker(style: number, fill?: string): Markup {
  return drawn(
    'inline',
    { x: 0, y: 0, width: 14, height: 14 },
    {
      axis: null,
      margin: 0,
      x: { type: 'identity' },
      y: { type: 'identity' },
      marks: familySymbols([{ x: 7, y: 7, style, fill }]),
    },
  );
}

/** An entry of a figure's legend. */
export interface KeyItem {
  label: string;
  /** Colour and symbol; null: the text colour. */
  style: number | null;
  /** Line colour, if not its style's. */
  stroke?: string;
  /** For a reference: a dashed line and a hollow symbol. */
  faint?: boolean;
  /** A symbol, and a line through it if points are joined. */
  sign: 'symbol' | 'line' | 'both';
}

const KEY_ROW = 20;
const SWATCH = 26;

/** A figure's legend: swatches and names in rows, at most `width` pixels wide. */
export function key(id: string, items: readonly KeyItem[], width: number, y = 0): { svg: Markup; height: number } {
  let [left, row] = [0, 0];
  const placed = items.map((item) => {
    const length = SWATCH + 6 + textWidth(item.label, FONT.label);
    if (left > 0 && left + length > width) [left, row] = [0, row + 1];
    const at = { ...item, x: left, y: row * KEY_ROW + KEY_ROW / 2 };
    left += length + 18;
    return at;
  });
  const height = items.length === 0 ? 0 : (row + 1) * KEY_ROW;
  const lines = placed.filter(({ sign }) => sign !== 'symbol');
  const symbols = placed.filter(({ sign, style }) => sign !== 'line' && style !== null);
  const stroke = ({ style, stroke: own }: KeyItem) => own ?? (style === null ? 'currentColor' : styleColour(style));
  const joined = (of: readonly (typeof placed)[number][], strokeDasharray?: string) =>
    link(of, {
      x1: 'x',
      x2: ({ x }: { x: number }) => x + SWATCH,
      y: 'y',
      stroke: { value: stroke, scale: null },
      strokeWidth: 1.6,
      strokeDasharray,
      strokeOpacity: strokeDasharray === undefined ? 1 : 0.6,
    });
  const svg = drawn(
    id,
    { x: 0, y, width, height },
    {
      axis: null,
      margin: 0,
      x: { type: 'identity' },
      y: { type: 'identity' },
      marks: [
        joined(lines.filter(({ faint }) => !faint)),
        joined(
          lines.filter(({ faint }) => faint),
          '4 3',
        ),
        familySymbols(
          symbols.map(({ x, y: middle, style, faint }) => ({ x: x + SWATCH / 2, y: middle, style: style!, faint })),
        ),
        text(placed, {
          x: ({ x }: { x: number }) => x + SWATCH + 6,
          y: 'y',
          text: 'label',
          textAnchor: 'start',
          fontSize: FONT.label,
        }),
      ],
    },
  );
  return { svg, height };
}

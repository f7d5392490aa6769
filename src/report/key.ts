import { link, text } from '@observablehq/plot';
import { drawn, FONT, textWidth } from './chart.js';
import type { Markup } from './markup.js';
import { colour, dots } from './styles.js';

/** A line of a figure's key. */
export interface KeyItem {
  label: string;
  /** Colour and symbol; null: the ink of the text. */
  style: number | null;
  /** Colour of a line, where it is not its style's. */
  stroke?: string;
  /** Of a reference: a broken line and a hollow symbol. */
  faint?: boolean;
  /** A symbol, and a line through it where points are joined. */
  sign: 'symbol' | 'line' | 'both';
}

const ROW = 20;
const SWATCH = 26;

/** A figure's key: swatches and their names in rows, at most `width` pixels wide. */
export function key(id: string, items: readonly KeyItem[], width: number, y = 0): { svg: Markup; height: number } {
  let [left, row] = [0, 0];
  const placed = items.map((item) => {
    const length = SWATCH + 6 + textWidth(item.label, FONT.label);
    if (left > 0 && left + length > width) [left, row] = [0, row + 1];
    const at = { ...item, x: left, y: row * ROW + ROW / 2 };
    left += length + 18;
    return at;
  });
  const height = items.length === 0 ? 0 : (row + 1) * ROW;
  const lines = placed.filter(({ sign }) => sign !== 'symbol');
  const symbols = placed.filter(({ sign, style }) => sign !== 'line' && style !== null);
  const stroke = ({ style, stroke: own }: KeyItem) => own ?? (style === null ? 'currentColor' : colour(style));
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
        dots(symbols.map(({ x, y: middle, style, faint }) => ({ x: x + SWATCH / 2, y: middle, style: style!, faint }))),
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

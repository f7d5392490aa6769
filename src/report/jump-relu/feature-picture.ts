import { dot, line, rect } from '@observablehq/plot';
import { attributed } from '../chart.js';
import { extent } from '../domains.js';
import { fixed, integer, percent } from '../format.js';
import type { Markup } from '../markup.js';
import { colour } from '../styles.js';
import { type Part, picture } from './picture.js';
import type { FeatureOnTokens } from './projection.js';

/** What the picture is of. */
export interface FeatureName {
  feature: number;
  sae: string;
  architecture: string;
  hook: string;
}

const [RESPONSE, , WHEN_ON, WHEN_OFF] = [0, 1, 2, 3];
const BINS = 80;
/** Most tokens drawn as dots: more would only be a heavier blot. */
const DOTS = 2000;

interface Bin {
  from: number;
  to: number;
  /** Share of the tokens in the bin, by its width: each histogram's area is 1. */
  density: number;
}

/** Histogram of the values as a density, over bins that both histograms share. */
export function histogram(values: readonly number[], [low, high]: readonly [number, number], bins = BINS): Bin[] {
  const width = (high - low) / bins;
  const counts = new Array<number>(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor((value - low) / width))]!++;
  return counts.flatMap((count, i) =>
    count === 0 ? [] : [{ from: low + i * width, to: low + (i + 1) * width, density: count / values.length / width }],
  );
}

/** Every k-th, so that at most `limit` are left. */
function thinned<T>(values: readonly T[], limit: number): T[] {
  const stride = Math.max(1, Math.ceil(values.length / limit));
  return values.filter((_, i) => i % stride === 0);
}

function histograms(off: readonly number[], on: readonly number[], range: [number, number], total: number): Part {
  const kinds = [
    { word: 'off', values: off, style: WHEN_OFF! },
    { word: 'on', values: on, style: WHEN_ON! },
  ];
  return {
    heading: 'Projection on the feature’s direction',
    x: 'Projection (x − b_dec) · d_j',
    y: 'Density (each area is 1)',
    xAxis: { domain: range },
    yAxis: {},
    key: kinds.map(({ word, values, style }) => ({
      label: `feature ${word}: ${percent(values.length / total, 2)} % of tokens`,
      style,
      sign: 'line' as const,
    })),
    marks: kinds.map(({ word, values, style }) => {
      const bins = histogram(values, range);
      return rect(bins, {
        x1: 'from',
        x2: 'to',
        y1: 0,
        y2: 'density',
        fill: colour(style),
        fillOpacity: 0.5,
        ...attributed(bins, () => ({ 'data-mark': `bar-${word}` })),
      });
    }),
  };
}

function response(on: readonly { a: number; f: number }[], range: [number, number]): Part {
  const shown = thinned(on, DOTS);
  const most = Math.max(...on.map(({ f }) => f));
  const identity = [
    { a: 0, f: 0 },
    { a: Math.min(range[1], 1.05 * most), f: Math.min(range[1], 1.05 * most) },
  ];
  return {
    heading: 'Response of the encoder',
    x: 'Projection (x − b_dec) · d_j',
    y: 'Feature activation f_j',
    xAxis: { domain: range },
    yAxis: { domain: [0, 1.05 * most], grid: true },
    key: [
      {
        label: shown.length < on.length ? `one token in ${Math.ceil(on.length / DOTS)}` : 'a token',
        style: RESPONSE!,
        sign: 'symbol',
      },
      { label: 'f = projection', style: null, faint: true, sign: 'line' },
    ],
    marks: [
      dot(shown, {
        x: 'a',
        y: 'f',
        r: 1.8,
        fill: colour(RESPONSE!),
        fillOpacity: 0.4,
        ...attributed(shown, () => ({ 'data-mark': 'token' })),
      }),
      line(identity, { x: 'a', y: 'f', strokeDasharray: '4 3', strokeOpacity: 0.7 }),
    ],
  };
}

/** The toy model's picture for a trained feature: projections of tokens with it off and on, and its response. */
export function featurePicture(
  { projection, f }: FeatureOnTokens,
  name: FeatureName,
): { svg: Markup; caption: string } {
  const tokens = Array.from(projection, (a, i) => ({ a, f: f[i]! }));
  const on = tokens.filter((token) => token.f > 0);
  const off = tokens.filter((token) => token.f <= 0).map(({ a }) => a);
  const range = extent(projection) ?? [0, 1];
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const least = on.reduce((low, token) => Math.min(low, token.f), Number.POSITIVE_INFINITY);
  const error = mean(on.map((token) => (token.f - token.a) ** 2));
  const caption = `Feature ${name.feature} of ${name.sae} (${name.architecture}) at ${name.hook}, on ${integer(tokens.length)} tokens. Left: projection of the activation, less the decoder’s bias, on the feature’s decoder direction, where the feature is off (${integer(off.length)} tokens, mean ${fixed(mean(off), 2)}) and on (${integer(on.length)} tokens, mean ${fixed(mean(on.map(({ a }) => a)), 2)}). Right: activation against projection where it is on; from ${fixed(least, 3)} upwards, and E (f − projection)² = ${fixed(error, 3)}. A ReLU encoder’s activations begin at 0; a gap below is a jump.`;
  return {
    svg: picture(
      [
        histograms(
          off,
          on.map(({ a }) => a),
          range,
          tokens.length,
        ),
        response(on, range),
      ],
      `Feature ${name.feature}: off, on, and its response`,
      caption,
    ),
    caption,
  };
}

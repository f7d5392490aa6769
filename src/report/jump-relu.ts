import { areaY, dot, line, type Markish, rect, ruleX, text } from '@observablehq/plot';
import { ActivationBatches } from '../activations/batches.js';
import type { Store } from '../activations/store.js';
import { listed } from '../config/suggest.js';
import { Interrupted } from '../errors/refusal.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { ARCHITECTURES } from '../sae/registry.js';
import { architectures, type Sae } from '../sae/sae.js';
import { halfValues, widen } from '../safetensors/floats.js';
import { AXIS_LINES, attributed, type Box, drawn, FONT, figureSvg, titles } from './chart.js';
import { type KeyItem, key, styleColour } from './family-styles.js';
import { extent, fixed, integer, paddedDomain, percent } from './numbers-and-axes.js';
import { type Markup, markup } from './page.js';

/** A normal distribution. */
interface Normal {
  mean: number;
  deviation: number;
}

/** Projection of x on the feature's direction when the feature is off, and when it is on: half the tokens each. */
export const OFF: Normal = { mean: 0, deviation: 1 };
/** N(2, 1/4): the second is the variance. */
export const ON: Normal = { mean: 2, deviation: 0.5 };

/** An encoder of one feature: its activation f as a function of the projection a. */
export type FeatureEncoder = (a: number) => number;

/** Threshold of both encoders. */
const THRESHOLD = 1;

/** 1[a > t]·m·(a − t) with t = 1, m = 2: continuous, so that small values shrink unless large ones are stretched. */
export const relu: FeatureEncoder = (a) => (a > THRESHOLD ? 2 * (a - THRESHOLD) : 0);

/** 1[a > t]·m·(a − d) with t = 1, m = 1, d = 0: the identity above its jump. */
export const jumpRelu: FeatureEncoder = (a) => (a > THRESHOLD ? a : 0);

/** Density of a normal distribution at a. */
export function density({ mean, deviation }: Normal, a: number): number {
  const z = (a - mean) / deviation;
  return Math.exp(-0.5 * z * z) / (deviation * Math.sqrt(2 * Math.PI));
}

/** Distance from the mean, in standard deviations, beyond which the normal density is negligible in float64. */
const REACH = 12;
/** Number of intervals on either side of the threshold; Simpson's rule needs an even number. */
const INTERVALS = 2000;

/** ∫ g from low to high by Simpson's rule; g must be smooth between them. */
function simpson(g: (a: number) => number, low: number, high: number): number {
  const h = (high - low) / INTERVALS;
  let sum = g(low) + g(high);
  for (let i = 1; i < INTERVALS; i++) sum += (i % 2 === 1 ? 4 : 2) * g(low + i * h);
  return (sum * h) / 3;
}

/** E g(a) for a of the distribution, with g smooth on either side of the threshold. */
function expected(of: Normal, g: (a: number) => number): number {
  const weighted = (a: number) => density(of, a) * g(a);
  const [low, high] = [of.mean - REACH * of.deviation, of.mean + REACH * of.deviation];
  // At the threshold itself the encoder is closed: the right piece begins just after it.
  const above = THRESHOLD + Number.EPSILON * 2;
  return simpson(weighted, low, THRESHOLD) + simpson(weighted, above, high);
}

/** Mean squared error of a reconstruction: with the feature off, with it on, and over all tokens. */
interface SquaredError {
  off: number;
  on: number;
  all: number;
}

/**
 * Expected squared error of f relative to the feature's contribution: a when it is on, and 0 when it is off, where the
 * projection comes from other features. By quadrature.
 */
export function expectedError(f: FeatureEncoder): SquaredError {
  const off = expected(OFF, (a) => f(a) ** 2);
  const on = expected(ON, (a) => (f(a) - a) ** 2);
  return { off, on, all: (off + on) / 2 };
}

/** Colours: those of gated and standard SAEs, and two more for on and off. */
const [JUMP, RELU, WHEN_ON, WHEN_OFF] = [0, 1, 2, 3];
const ENCODERS = [
  { name: 'ReLU', f: relu, style: RELU },
  { name: 'JumpReLU', f: jumpRelu, style: JUMP },
] as const;

const AXIS_RANGE = [-3.5, 4] as const;
const AXIS_STEP = 0.02;

/** Sample points along the axis, including those on either side of the threshold, where an encoder may jump. */
function axisPlaces(): number[] {
  const count = Math.round((AXIS_RANGE[1] - AXIS_RANGE[0]) / AXIS_STEP);
  const even = Array.from({ length: count + 1 }, (_, i) => AXIS_RANGE[0] + i * AXIS_STEP);
  return [...even, THRESHOLD, THRESHOLD + 1e-9].sort((a, b) => a - b);
}

const threshold = () =>
  ruleX([THRESHOLD], {
    strokeDasharray: '2 3',
    strokeOpacity: 0.8,
    ...attributed([THRESHOLD], () => ({ 'data-mark': 'threshold' })),
  });

function densities(): PicturePlot {
  const curves = [
    { of: OFF, style: WHEN_OFF },
    { of: ON, style: WHEN_ON },
  ].map(({ of, style }) => ({ style, points: axisPlaces().map((a) => ({ a, p: density(of, a) / 2 })) }));
  return {
    heading: 'Projection on the feature’s direction',
    x: 'Projection a',
    y: 'Density',
    xAxis: { domain: AXIS_RANGE },
    yAxis: { domain: [0, 0.42] },
    key: [
      { label: 'feature off', style: WHEN_OFF!, sign: 'line' },
      { label: 'feature on', style: WHEN_ON!, sign: 'line' },
    ],
    marks: [
      curves.map(({ style, points }) =>
        areaY(points, { x: 'a', y: 'p', fill: styleColour(style!), fillOpacity: 0.35 }),
      ),
      curves.map(({ style, points }) =>
        line(points, {
          x: 'a',
          y: 'p',
          stroke: styleColour(style!),
          ...attributed(points, () => ({ 'data-mark': 'density' })),
        }),
      ),
      threshold(),
    ].flat(),
  };
}

function reconstructions(): PicturePlot {
  const curve = (f: FeatureEncoder) => axisPlaces().map((a) => ({ a, f: f(a) }));
  const identity = [0, AXIS_RANGE[1]].map((a) => ({ a, f: a }));
  return {
    heading: 'Reconstruction',
    x: 'Projection a',
    y: 'Feature activation f',
    xAxis: { domain: AXIS_RANGE },
    yAxis: { domain: [-0.25, 6], grid: true },
    key: [
      ...ENCODERS.map(({ name, style }) => ({ label: name, style: style!, sign: 'line' as const })),
      { label: 'f = a', style: null, faint: true, sign: 'line' as const },
    ],
    marks: [
      line(identity, { x: 'a', y: 'f', strokeDasharray: '4 3', strokeOpacity: 0.6 }),
      ENCODERS.map(({ f, style }) => {
        const points = curve(f);
        return line(points, {
          x: 'a',
          y: 'f',
          stroke: styleColour(style!),
          strokeWidth: 2,
          ...attributed(points, () => ({ 'data-mark': 'encoder' })),
        });
      }),
      threshold(),
    ].flat(),
  };
}

function errors(): PicturePlot {
  const bars = ENCODERS.flatMap(({ name, f, style }, e) => {
    const { off, on, all } = expectedError(f);
    return [off, on, all].map((error, i) => ({
      name,
      style,
      error,
      from: i + (e === 0 ? 0.04 : 0.36),
      to: i + (e === 0 ? 0.34 : 0.66),
    }));
  });
  return {
    heading: 'Expected squared error',
    x: 'E (f − a)² where on, E f² where off',
    y: '',
    left: 70,
    xAxis: { domain: [0, 1.2 * Math.max(...bars.map(({ error }) => error))], ticks: 4, grid: true },
    yAxis: { domain: [3, -0.15], axis: null },
    key: ENCODERS.map(({ name, style }) => ({ label: name, style: style!, sign: 'line' as const })),
    marks: [
      rect(bars, {
        x1: 0,
        x2: 'error',
        y1: 'from',
        y2: 'to',
        fill: { value: ({ style }: { style: number }) => styleColour(style), scale: null },
        ...attributed(bars, () => ({ 'data-mark': 'error' })),
      }),
      text(bars, {
        x: 'error',
        y: ({ from, to }: { from: number; to: number }) => (from + to) / 2,
        text: ({ error }: { error: number }) => fixed(error, 3),
        textAnchor: 'start',
        dx: 5,
      }),
      text(['feature off', 'feature on', 'all tokens'], {
        frameAnchor: 'left',
        textAnchor: 'end',
        dx: -8,
        y: (_: string, i: number) => i + 0.35,
        text: (word: string) => word,
        fontSize: FONT.small,
      }),
    ],
  };
}

/** The toy model of the paper's appendix F in three plots, and the errors in words. */
export function toyPicture(): { svg: Markup; caption: string } {
  const [r, j] = [expectedError(relu), expectedError(jumpRelu)];
  const caption = `The toy model of appendix F of the paper: the projection a of an activation on a feature’s direction is N(0, 1) where the feature is off and N(2, 1/4) where it is on, half the tokens each. Both encoders open at a = ${THRESHOLD} (dotted): ReLU gives f = 2 (a − 1), JumpReLU f = a. A ReLU must begin at 0 where it opens, so that it is too small just above its threshold or too large far above it; JumpReLU need not. Expected squared error against what the feature contributes (a where it is on, nothing where it is off), by quadrature: ReLU ${fixed(r.all, 3)} (off ${fixed(r.off, 3)}, on ${fixed(r.on, 3)}), JumpReLU ${fixed(j.all, 3)} (off ${fixed(j.off, 3)}, on ${fixed(j.on, 3)}).`;
  return {
    svg: picture([densities(), reconstructions(), errors()], 'ReLU and JumpReLU on a toy model', caption),
    caption,
  };
}

/** Subject of the figure. */
interface FeatureName {
  feature: number;
  sae: string;
  architecture: string;
  hook: string;
}

const [RESPONSE, , TOKENS_ON, TOKENS_OFF] = [0, 1, 2, 3];
const HISTOGRAM_BINS = 80;
/** Max tokens drawn as dots: more would only make a denser blot. */
const DOTS = 2000;

interface Bin {
  from: number;
  to: number;
  /** Share of the tokens in the bin, divided by its width: each histogram has area 1. */
  density: number;
}

/** Histogram of the values as a density, with bins shared by both histograms. */
export function histogram(
  values: readonly number[],
  [low, high]: readonly [number, number],
  bins = HISTOGRAM_BINS,
): Bin[] {
  const width = (high - low) / bins;
  const counts = new Array<number>(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor((value - low) / width))]!++;
  return counts.flatMap((count, i) =>
    count === 0 ? [] : [{ from: low + i * width, to: low + (i + 1) * width, density: count / values.length / width }],
  );
}

/** Every k-th element, so that at most `limit` remain. */
function everyKth<T>(values: readonly T[], limit: number): T[] {
  const stride = Math.max(1, Math.ceil(values.length / limit));
  return values.filter((_, i) => i % stride === 0);
}

function histograms(
  off: readonly number[],
  on: readonly number[],
  range: [number, number],
  total: number,
): PicturePlot {
  const kinds = [
    { word: 'off', values: off, style: TOKENS_OFF! },
    { word: 'on', values: on, style: TOKENS_ON! },
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
        fill: styleColour(style),
        fillOpacity: 0.5,
        ...attributed(bins, () => ({ 'data-mark': `bar-${word}` })),
      });
    }),
  };
}

function response(on: readonly { a: number; f: number }[], range: [number, number]): PicturePlot {
  const shown = everyKth(on, DOTS);
  const most = on.reduce((largest, { f }) => Math.max(largest, f), 0);
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
        fill: styleColour(RESPONSE!),
        fillOpacity: 0.4,
        ...attributed(shown, () => ({ 'data-mark': 'token' })),
      }),
      line(identity, { x: 'a', y: 'f', strokeDasharray: '4 3', strokeOpacity: 0.7 }),
    ],
  };
}

/** The toy model's figure for a trained feature: projections of tokens with it off and on, and its response. */
export function featurePicture(
  { projection, f }: FeatureOnTokens,
  name: FeatureName,
): { svg: Markup; caption: string } {
  const tokens = Array.from(projection, (a, i) => ({ a, f: f[i]! }));
  const on = tokens.filter((token) => token.f > 0);
  const off = tokens.filter((token) => token.f <= 0).map(({ a }) => a);
  // A single value gets an interval around it.
  const range = paddedDomain(extent(projection) ?? [0, 1], 0);
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

/** A feature on many tokens: the projection of x on its direction, and its activation. */
interface FeatureOnTokens {
  /** [tokens] (x − b_dec) · d_j, where d_j is the feature's decoder row. */
  projection: Float64Array;
  /** [tokens] f_j; 0 when the feature is off. */
  f: Float64Array;
}

/** The parameters of one encoder unit that its activation depends on. */
interface Unit {
  /** Column j of W_enc, and row j of W_dec: [d_in] each. */
  encoder: Float64Array;
  decoder: Float64Array;
  b_dec: Float64Array;
  /** f_j from p = (x − b_dec) · W_enc[:, j]. */
  activation: (p: number) => number;
}

/** Architectures for which a single feature can be drawn, in words. */
export const DRAWN = listed(architectures.filter((name) => ARCHITECTURES[name].unit));

/** Feature j of an SAE by itself. @throws Error if its activation depends on others */
export function unitOf({ architecture, dIn, dSae, parameters }: Sae, j: number): Unit {
  const { W_enc, W_dec, b_dec } = parameters;
  const { unit } = ARCHITECTURES[architecture];
  if (!unit) throw new Error(`a feature of a ${architecture} SAE does not depend on its own pre-activation alone`);
  return {
    encoder: Float64Array.from({ length: dIn }, (_, i) => W_enc![i * dSae + j]!),
    decoder: Float64Array.from(W_dec!.subarray(j * dIn, (j + 1) * dIn)),
    b_dec: Float64Array.from(b_dec!),
    activation: unit(parameters, j),
  };
}

/**
 * The feature on at most `limit` rows of the store, from complete shards in a random order given by the seed.
 *
 * @throws Interrupted if the user asks to stop
 */
export async function featureOnTokens(
  sae: Sae,
  j: number,
  store: Store,
  { tokens: limit, seed }: { tokens: number; seed: number },
  progress: Progress,
  stop: StopRequest,
): Promise<FeatureOnTokens> {
  const { dtype, d_in: d, rows } = store.manifest;
  const unit = unitOf(sae, j);
  const total = Math.min(limit, rows);
  const found = { projection: new Float64Array(total), f: new Float64Array(total) };
  const half = dtype === 'float16' ? halfValues() : undefined;
  progress.begin(`feature ${j}`, total, 'token');
  let done = 0;
  for await (const { activation, token } of new ActivationBatches(store, 'shuffled', seed).inputs(0)) {
    // 16-bit values are converted one by one: converting a shard would double its memory.
    const values = dtype === 'bfloat16' ? widen(activation, dtype) : activation;
    for (let row = 0; row < token.length && done < total; row++, done++) {
      let [p, projection] = [0, 0];
      for (let i = 0; i < d; i++) {
        const raw = values[row * d + i]!;
        const centred = (half === undefined ? raw : half[raw]!) - unit.b_dec[i]!;
        p += centred * unit.encoder[i]!;
        projection += centred * unit.decoder[i]!;
      }
      found.projection[done] = projection;
      found.f[done] = unit.activation(p);
    }
    progress.update(done);
    if (stop.signal) throw new Interrupted(stop.signal, 'the figure was not drawn and nothing was written.');
    if (done === total) break;
  }
  progress.end();
  return found;
}

/** A plot of the figure: its axes, marks and legend. */
interface PicturePlot {
  heading: string;
  x: string;
  y: string;
  xAxis: object;
  yAxis: object;
  marks: Markish[];
  key: readonly KeyItem[];
  /** Space left of the plot, for numbers or names (pixels). */
  left?: number;
}

const HEIGHT = 330;
const KEY = 44;

/** Plots side by side, each with its legend above it. */
function picture(parts: readonly PicturePlot[], title: string, description: string): Markup {
  const width = parts.length === 3 ? 320 : 440;
  const drawnParts = parts.map(({ heading, x, y, xAxis, yAxis, marks, key: items, left = 46 }, i) => {
    const box: Box = { x: i * width, y: KEY, width, height: HEIGHT };
    const legend = key(`figure-1-key-${i}`, items, width - 24);
    const plotted = drawn(`figure-1-${i}`, box, {
      marginLeft: left,
      marginRight: 14,
      marginTop: 48,
      marginBottom: 46,
      x: { label: null, ticks: 6, ...xAxis },
      y: { label: null, ticks: 5, ...yAxis },
      marks: [AXIS_LINES, marks, titles({ heading, x, y, left: left - 4 })],
    });
    return markup`<g transform="translate(${i * width + 6} 0)">${legend.svg}</g>${plotted}`;
  });
  return figureSvg(
    { width: parts.length * width, height: KEY + HEIGHT, id: 'figure-1', title, description },
    markup`${drawnParts}`,
  );
}

import { areaY, line, rect, ruleX, text } from '@observablehq/plot';
import { attributed, FONT } from '../chart.js';
import { fixed } from '../format.js';
import type { Markup } from '../markup.js';
import { colour } from '../styles.js';
import { type Part, picture } from './picture.js';
import { density, type Encoder, expectedError, jumpRelu, OFF, ON, relu, THRESHOLD } from './toy.js';

/** Colours: as gated and standard have them, and two of their own for on and off. */
const [JUMP, RELU, WHEN_ON, WHEN_OFF] = [0, 1, 2, 3];
const ENCODERS = [
  { name: 'ReLU', f: relu, style: RELU },
  { name: 'JumpReLU', f: jumpRelu, style: JUMP },
] as const;

const RANGE = [-3.5, 4] as const;
const STEP = 0.02;

/** Places along the axis, and the two on either side of the threshold, where an encoder may jump. */
function places(): number[] {
  const count = Math.round((RANGE[1] - RANGE[0]) / STEP);
  const even = Array.from({ length: count + 1 }, (_, i) => RANGE[0] + i * STEP);
  return [...even, THRESHOLD, THRESHOLD + 1e-9].sort((a, b) => a - b);
}

const threshold = () =>
  ruleX([THRESHOLD], {
    strokeDasharray: '2 3',
    strokeOpacity: 0.8,
    ...attributed([THRESHOLD], () => ({ 'data-mark': 'threshold' })),
  });

function densities(): Part {
  const curves = [
    { of: OFF, style: WHEN_OFF },
    { of: ON, style: WHEN_ON },
  ].map(({ of, style }) => ({ style, points: places().map((a) => ({ a, p: density(of, a) / 2 })) }));
  return {
    heading: 'Projection on the feature’s direction',
    x: 'Projection a',
    y: 'Density',
    xAxis: { domain: RANGE },
    yAxis: { domain: [0, 0.42] },
    key: [
      { label: 'feature off', style: WHEN_OFF!, sign: 'line' },
      { label: 'feature on', style: WHEN_ON!, sign: 'line' },
    ],
    marks: [
      curves.map(({ style, points }) => areaY(points, { x: 'a', y: 'p', fill: colour(style!), fillOpacity: 0.35 })),
      curves.map(({ style, points }) =>
        line(points, {
          x: 'a',
          y: 'p',
          stroke: colour(style!),
          ...attributed(points, () => ({ 'data-mark': 'density' })),
        }),
      ),
      threshold(),
    ].flat(),
  };
}

function reconstructions(): Part {
  const curve = (f: Encoder) => places().map((a) => ({ a, f: f(a) }));
  const identity = [0, RANGE[1]].map((a) => ({ a, f: a }));
  return {
    heading: 'Reconstruction',
    x: 'Projection a',
    y: 'Feature activation f',
    xAxis: { domain: RANGE },
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
          stroke: colour(style!),
          strokeWidth: 2,
          ...attributed(points, () => ({ 'data-mark': 'encoder' })),
        });
      }),
      threshold(),
    ].flat(),
  };
}

function errors(): Part {
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
        fill: { value: ({ style }: { style: number }) => colour(style), scale: null },
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

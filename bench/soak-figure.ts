import { areaY, line, ruleY } from '@observablehq/plot';
import { AXIS_LINES, drawn, figureSvg, titles } from '../src/report/chart.js';
import { svgFile } from '../src/report/draw-figure.js';
import { type Markup, markup } from '../src/report/page.js';

/** A phase as it is drawn. */
export interface Phase {
  readonly name: string;
  /** Bytes; null where the program prints none. */
  readonly bound: number | null;
  /** Seconds, and bytes. */
  readonly samples: readonly (readonly [seconds: number, resident: number, anonymous: number])[];
}

const WIDTH = 760;
const ROW = 150;
const MIB = 2 ** 20;

/** Resident memory of each phase over time, below the bound that the program printed, as an SVG file. */
export function soakFigure(phases: readonly Phase[]): string {
  const plots = phases.map(({ name, bound, samples }, i): Markup => {
    const rows = samples.map(([seconds, resident, anonymous]) => ({
      minutes: seconds / 60,
      resident: resident / MIB,
      anonymous: anonymous / MIB,
    }));
    const most = Math.max(...rows.map(({ resident }) => resident), (bound ?? 0) / MIB);
    const left = 46;
    const last = i === phases.length - 1;
    return drawn(
      'soak',
      { x: 0, y: i * ROW, width: WIDTH, height: ROW },
      {
        ...{ marginLeft: left, marginTop: 30, marginBottom: last ? 36 : 24, marginRight: 12 },
        x: { label: null },
        y: { label: null, domain: [0, 1.05 * most], ticks: 4, grid: true },
        marks: [
          ...AXIS_LINES,
          areaY(rows, { x: 'minutes', y: 'anonymous', fill: 'var(--style-0)', fillOpacity: 0.15 }),
          line(rows, { x: 'minutes', y: 'resident', stroke: 'var(--style-0)', strokeWidth: 1.5 }),
          ...(bound === null ? [] : [ruleY([bound / MIB], { stroke: 'var(--style-1)', strokeDasharray: '4,3' })]),
          ...titles({
            heading: bound === null ? `${name} (MiB)` : `${name} (MiB; dashed: the bound that it printed)`,
            ...(last ? { x: 'minutes' } : {}),
            left,
          }),
        ],
      },
    );
  });
  const height = ROW * phases.length;
  const svg = figureSvg(
    {
      ...{ width: WIDTH, height, id: 'soak', title: 'Resident memory over time' },
      description: 'Line: resident memory of the process. Area: the part of it that belongs to no file.',
    },
    markup`${plots}`,
  );
  return svgFile({ title: 'Memory', svg, caption: '', command: 'npm run bench:soak' });
}

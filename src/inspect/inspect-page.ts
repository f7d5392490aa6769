import { line, rectY, ruleX } from '@observablehq/plot';
import { version } from '../config/flags.js';
import { AXIS_LINES, drawn as drawPlot, FIGURE_WIDTH, figureSvg, titles } from '../report/chart.js';
import { compact } from '../report/numbers-and-axes.js';
import { captionedFigure, captionedTable, type Markup, markup, page } from '../report/page.js';
import type { Drawn, Inspection } from './figures.js';
import { asPercent, short } from './inspect-table.js';

const HEIGHT = 260;
const MARGINS = { marginLeft: 52, marginRight: 14, marginTop: 44, marginBottom: 40 };
const WIDTH = FIGURE_WIDTH / 3;

/** Norms, standard deviations and eigenvalues of a store's activations, side by side. */
export function storeFigure(inspection: Inspection, drawn: Drawn, id: string): Markup {
  const description = `${inspection.rows} activations at ${inspection.hook}: γ ${short(inspection.gamma.raw)}, median norm ${short(inspection.norms.median)}.`;
  return figureSvg({ width: FIGURE_WIDTH, height: HEIGHT, id, title: inspection.hook, description }, [
    normPanel(inspection, drawn, `${id}-norms`),
    deviationPanel(drawn, `${id}-deviations`),
    spectrumPanel(drawn, `${id}-spectrum`),
  ]);
}

const box = (column: number) => ({ x: column * WIDTH, y: 0, width: WIDTH, height: HEIGHT });
const LOG = { type: 'log', label: null, ticks: 4, tickFormat: compact } as const;

function normPanel({ norms, tokens }: Inspection, { histogram }: Drawn, id: string): Markup {
  const bars = quarters(histogram);
  const most = Math.max(1, ...bars.map(({ count }) => count));
  return drawPlot(id, box(0), {
    ...MARGINS,
    x: { ...LOG },
    y: { ...LOG, domain: [0.8, 1.3 * most] },
    marks: [
      rectY(bars, { x1: 'from', x2: 'to', y1: 0.8, y2: 'count', fill: 'var(--style-0)', fillOpacity: 0.8 }),
      ruleX([norms.median], { stroke: 'currentColor', strokeDasharray: '2 3' }),
      ruleX([tokens.large.threshold], { stroke: 'var(--style-1)', strokeDasharray: '4 3' }),
      AXIS_LINES,
      titles({ heading: 'Norms', y: 'Tokens', x: '|x|', left: MARGINS.marginLeft - 4 }),
    ],
  });
}

/** Bins of a quarter octave, non-empty ones only; finer bins would look like a comb. */
function quarters({ edges, counts }: Drawn['histogram']): { from: number; to: number; count: number }[] {
  const bins = new Map<number, number>();
  for (const [i, count] of counts.entries()) {
    const quarter = Math.floor(4 * Math.log2(Math.sqrt(edges[i]! * edges[i + 1]!)));
    bins.set(quarter, (bins.get(quarter) ?? 0) + count);
  }
  return [...bins]
    .filter(([, count]) => count > 0)
    .map(([quarter, count]) => ({ from: 2 ** (quarter / 4), to: 2 ** ((quarter + 1) / 4), count }));
}

function deviationPanel({ deviations }: Drawn, id: string): Markup {
  const points = deviations
    .map((deviation, i) => ({ rank: i + 1, deviation }))
    .filter(({ deviation }) => deviation > 0);
  return drawPlot(id, box(1), {
    ...MARGINS,
    x: { ...LOG, domain: [1, Math.max(2, deviations.length)] },
    y: { ...LOG, ...(points.length === 0 && { domain: [1, 10] }) },
    marks: [
      line(points, { x: 'rank', y: 'deviation', stroke: 'var(--style-0)' }),
      AXIS_LINES,
      titles({ heading: 'Dimensions', y: 'Standard deviation', x: 'Rank', left: MARGINS.marginLeft - 4 }),
    ],
  });
}

function spectrumPanel({ spectrum, withoutLarge }: Drawn, id: string): Markup {
  const curve = (values: Float64Array | undefined, of: string) => {
    const total = values?.reduce((sum, value) => sum + Math.max(0, value), 0) ?? 0;
    let sum = 0;
    return Array.from(values ?? [], (value, i) => {
      sum += Math.max(0, value);
      return { rank: i + 1, share: total > 0 ? (100 * sum) / total : 0, of };
    });
  };
  const [all, without] = [curve(spectrum, 'all'), curve(withoutLarge, 'without')];
  return drawPlot(id, box(2), {
    ...MARGINS,
    x: { ...LOG, domain: [1, Math.max(2, all.length)] },
    y: { domain: [0, 100], label: null, ticks: 5, grid: true },
    marks: [
      line(all, { x: 'rank', y: 'share', stroke: 'var(--style-0)' }),
      line(without, { x: 'rank', y: 'share', stroke: 'var(--style-1)', strokeDasharray: '4 3' }),
      AXIS_LINES,
      titles({ heading: 'Directions', y: 'Variance explained (%)', x: 'Eigenvalues', left: MARGINS.marginLeft - 4 }),
    ],
  });
}

/** The caption of the figure. */
export function captionOf({ rows, hook, tokens, gamma, effective_rank: rank }: Inspection): string {
  const ranks =
    rank.all === null
      ? ''
      : ` Effective rank ${short(rank.all)}, ${rank.without_large_tokens === null ? '–' : short(rank.without_large_tokens)} without large tokens (dashed).`;
  return `${rows} activations at ${hook}. γ ${short(gamma.raw)}, ${short(gamma.layer_norm)} after per-token LayerNorm. Dotted: the median norm; dashed: ${tokens.large.multiple} times the median of the first shard, above which a token counts as large.${ranks}`;
}

/** The page: figure, dimensions, tokens. */
export function inspectionPage(inspection: Inspection, drawn: Drawn, command: string): string {
  const made = markup` <span class="made">Made by <code>${command}</code></span>`;
  const title = `Activations of ${inspection.model} at ${inspection.hook}`;
  return page({
    title,
    saes: 0,
    body: markup`<header><h1>${title}</h1></header>
${captionedFigure(1, storeFigure(inspection, drawn, 'figure-1'), captionOf(inspection), made)}
${captionedTable(1, dimensionTable(inspection), 'Dimensions of the largest variance.')}
${captionedTable(2, tokenTable(inspection), 'Tokens with the largest norms.')}
<footer>sae-pipe ${version()}</footer>`,
  });
}

function dimensionTable({ dimensions }: Inspection): Markup {
  const rows = dimensions.largest.map(
    ({ dimension, mean, deviation, share }) =>
      markup`<tr><th scope="row">${String(dimension)}</th><td class="number">${short(mean)}</td><td class="number">${short(deviation)}</td><td class="number">${asPercent(share, 1)}</td></tr>
`,
  );
  return markup`<table><thead><tr><th>dimension</th><th class="number">mean</th><th class="number">deviation</th><th class="number">variance</th></tr></thead>
<tbody>
${rows}</tbody></table>`;
}

function tokenTable({ longest_tokens: tokens }: Inspection): Markup {
  const rows = tokens.map(
    (row) =>
      markup`<tr><th scope="row">${row.text === undefined ? `token ${row.token}` : markup`${row.before ?? ''}<b>${row.text}</b>${row.after ?? ''}`}</th><td class="number">${short(row.norm)}</td><td class="number">${row.multiple.toFixed(1)}</td><td class="number">${String(row.context)}</td><td class="number">${String(row.pos)}</td></tr>
`,
  );
  return markup`<table><thead><tr><th>token</th><th class="number">norm</th><th class="number">× median</th><th class="number">context</th><th class="number">position</th></tr></thead>
<tbody>
${rows}</tbody></table>`;
}

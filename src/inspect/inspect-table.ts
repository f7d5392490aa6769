import { significant, textTable } from '../progress/progress.js';
import type { Inspection } from './figures.js';

/** Number of tokens listed in the terminal. */
const SHOWN = 10;

/** The text output of `inspect`. */
export function inspectionTable(found: Inspection): string {
  const { norms, dimensions, tokens, effective_rank: rank, expected_dead: dead, gamma } = found;
  const { large, largest } = tokens;
  const numbers: [string, string][] = [
    ['store', found.store],
    ['activations', `${found.rows} of ${found.model} at ${found.hook}, d_in ${found.d_in}, ${found.dtype}`],
    ['γ = |μ| / |σ|', `${short(gamma.raw)} raw, ${short(gamma.layer_norm)} after per-token LayerNorm`],
    ['|μ|, |σ|', `${short(found.mean)}, ${short(found.deviation)}`],
    ['norms', `median ${short(norms.median)}, mean ${short(norms.mean)}`],
    ['', norms.quantiles.map(({ share, norm }) => `${asPercent(share, 1)} ${short(norm)}`).join(' · ')],
    [
      'largest tokens',
      `${asPercent(largest.share_of_variance, 1)} of the variance is due to the largest 0.1 % (${largest.rows})`,
    ],
    [
      `longer than ${large.multiple} × median`,
      `${large.rows} (${asPercent(large.share_of_rows, 3)}), with ${asPercent(large.share_of_variance, 1)} of the variance`,
    ],
    ['effective rank', rankText(rank, found.d_in)],
    [
      'standard deviations',
      `${short(dimensions.span.least)} to ${short(dimensions.span.largest)} times that of the median dimension`,
    ],
    [
      'dead from the start',
      `${asPercent(dead.relu, 1)} with ReLU, ${asPercent(dead.topk, 1)} with TopK (k ${dead.k} of ${dead.d_sae}), if b_dec starts at 0`,
    ],
  ];
  return [
    ...textTable(numbers),
    '',
    ...textTable(dimensionRows(found), 0),
    '',
    ...textTable([
      ['norm', '× median', 'context', 'pos', 'document', 'token'],
      ...found.longest_tokens
        .slice(0, SHOWN)
        .map((row) => [
          short(row.norm),
          row.multiple.toFixed(1),
          String(row.context),
          String(row.pos),
          row.document === undefined ? '–' : String(row.document),
          row.text === undefined ? String(row.token) : `${shown(row.before)}«${shown(row.text)}»${shown(row.after)}`,
        ]),
    ]),
  ].join('\n');
}

function dimensionRows({ dimensions }: Inspection): string[][] {
  return [
    ['dimension', 'mean', 'deviation', 'share of the variance'],
    ...dimensions.largest.map(({ dimension, mean, deviation, share }) => [
      String(dimension),
      short(mean),
      short(deviation),
      asPercent(share, 1),
    ]),
  ];
}

function rankText(
  { all, without_large_tokens: without, rows, reason }: Inspection['effective_rank'],
  d: number,
): string {
  if (all === null) return `not computed: ${reason}`;
  const rest = without === null ? '' : `; ${short(without)} without the large tokens`;
  return `${short(all)} of ${d}${rest} (over ${rows} activations)`;
}

export const short = (value: number) => (Number.isFinite(value) ? significant(value, 4) : '∞');
export const asPercent = (share: number, decimals: number) => `${Number((100 * share).toFixed(decimals))} %`;

/** Text on one line. */
const shown = (text = '') => text.replaceAll('\n', '↵').replace(/\p{Cc}/gu, ' ');

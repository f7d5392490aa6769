import { comparisonsOf, firingSentence, firingTable, overallSentence } from './firing-table.js';
import { fixed } from './format.js';
import type { Markup } from './markup.js';
import { paretoFigure } from './pareto.js';
import type { Point } from './points.js';
import { hookOf, type PublishedSae, referencePoints } from './reference.js';

/** The paper's figure 1, redrawn: its picture, its firing ratios, and what they say. */
export interface PaperFigure {
  svg: Markup;
  table: Markup | null;
  sentences: string[];
}

const NAMES = { resid: 'Residual stream', attn_z: 'Attention output before W_O', mlp_out: 'MLP output' } as const;
const ORDER = ['resid', 'attn_z', 'mlp_out'] as const;

/** The published points as the points of a report: drawn in full, since there are no others. */
function ownPoints(saes: readonly PublishedSae[]): Point[] {
  const ordered = [...saes].sort((a, b) => ORDER.indexOf(a.site) - ORDER.indexOf(b.site) || a.layer - b.layer);
  return ordered.flatMap((sae, index) => {
    const site = `${NAMES[sae.site]}, layer ${sae.layer}`;
    return referencePoints([sae], new Map([[hookOf(sae), [site]]]), 'loss_recovered', 'Gemma 7B').map((point) => ({
      ...point,
      index,
    }));
  });
}

/** Loss recovered against L0 of the paper's SAEs on Gemma 7B, by site and layer, from its published numbers alone. */
export function paperFigure(saes: readonly PublishedSae[]): PaperFigure {
  const points = ownPoints(saes);
  const comparisons = comparisonsOf(points);
  const ratios = new Map(
    comparisons.flatMap(({ site, result }) =>
      result.kind === 'ratio' ? [[site, fixed(result.mean, 2)] as const] : [],
    ),
  );
  const note = (site: string) => (ratios.has(site) ? `firing ratio ${ratios.get(site)}` : undefined);
  const overall = overallSentence(comparisons);
  return {
    svg: paretoFigure(points, { title: 'Gated and standard SAEs on Gemma 7B, as published', note }),
    table: firingTable(comparisons),
    sentences: [...comparisons.map(firingSentence), ...(overall === null ? [] : [overall])],
  };
}

import { distinct } from './entries.js';
import { type FiringRatio, firingRatio, type Span } from './firing-ratio.js';
import { counted, fixed, percent } from './format.js';
import { type Markup, markup } from './markup.js';
import { drawable, type Point } from './points.js';

/** Gated against standard at one site, of the report's own SAEs or of a reference. */
export interface Comparison {
  site: string;
  /** What the points are of, where they are a reference's. */
  reference: string | null;
  result: FiringRatio;
}

/** A comparison a site that has both gated and standard points, the reference's after the report's own. */
export function comparisonsOf(points: readonly Point[], reference: string | null = null): Comparison[] {
  const usable = points.filter(drawable);
  return distinct(usable.map(({ site }) => site)).flatMap((site) =>
    [false, true].flatMap((faint) => {
      const [gated, standard] = ['gated', 'standard'].map((family) =>
        usable
          .filter((point) => point.site === site && point.family === family && (point.index === null) === faint)
          .map(({ l0, value }) => ({ l0, recovered: value })),
      ) as [{ l0: number; recovered: number }[], { l0: number; recovered: number }[]];
      if (gated.length === 0 || standard.length === 0) return [];
      return [{ site, reference: faint ? reference : null, result: firingRatio(gated, standard) }];
    }),
  );
}

const span = ([low, high]: Span) =>
  low === high ? `${percent(low, 2)} %` : `${percent(low, 2)} to ${percent(high, 2)} %`;

/** The comparison in one sentence. */
export function firingSentence({ site, reference, result }: Comparison): string {
  const of = reference === null ? site : `${site} (${reference})`;
  switch (result.kind) {
    case 'ratio':
      return `At equal loss recovered, gated SAEs at ${of} have ${fixed(result.mean, 2)} times as many firing features as standard ones (geometric mean over ${span(result.span)} loss recovered, which both curves cover).`;
    case 'apart':
      return `At ${of} the curves do not overlap, and nothing is extrapolated: gated SAEs recover ${span(result.gated)} of the loss, standard ones ${span(result.standard)}.`;
    default:
      return `At ${of} there is no point on one of the curves to compare with.`;
  }
}

/** The report's own mean over its sites, where several have a ratio. */
export function overallSentence(comparisons: readonly Comparison[]): string | null {
  const means = comparisons.flatMap(({ reference, result }) =>
    reference === null && result.kind === 'ratio' ? [result.mean] : [],
  );
  if (means.length < 2) return null;
  const mean = Math.exp(means.reduce((sum, ratio) => sum + Math.log(ratio), 0) / means.length);
  return `Geometric mean over ${counted(means.length, 'site')}: ${fixed(mean, 2)}.`;
}

function rows({ site, reference, result }: Comparison): Markup | null {
  if (result.kind !== 'ratio') return null;
  const heading = reference === null ? site : `${site}, ${reference}`;
  const levels = result.levels.map(
    ({ recovered, gated, standard, ratio }) =>
      markup`<tr><td class="number">${percent(recovered, 2)}</td><td class="number">${fixed(gated, 1)}</td><td class="number">${fixed(standard, 1)}</td><td class="number">${fixed(ratio, 2)}</td></tr>
`,
  );
  return markup`<tbody><tr class="group"><th scope="rowgroup" colspan="4">${heading}</th></tr>
${levels}<tr class="mean"><td class="number" colspan="3">geometric mean</td><td class="number">${fixed(result.mean, 2)}</td></tr></tbody>
`;
}

/** The firing ratios as a table, null where no two curves overlap. */
export function firingTable(comparisons: readonly Comparison[]): Markup | null {
  if (!comparisons.some(({ result }) => result.kind === 'ratio')) return null;
  return markup`<table class="firing">
<thead><tr><th scope="col" class="number">Loss recovered<span class="unit">%</span></th><th scope="col" class="number">L0, gated<span class="unit">a token</span></th><th scope="col" class="number">L0, standard<span class="unit">a token</span></th><th scope="col" class="number">Firing ratio<span class="unit">gated / standard</span></th></tr></thead>
${comparisons.map(rows)}</table>`;
}

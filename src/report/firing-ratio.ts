import { drawable, type Point } from './against-l0.js';
import { distinct } from './entries.js';
import { COMPARED } from './family-styles.js';
import { counted, fixed, percent } from './numbers-and-axes.js';
import { type Markup, markup } from './page.js';

/** An SAE as a point on its family's trade-off curve: features per token, and the loss it recovers. */
export interface Tradeoff {
  l0: number;
  /** Loss recovered as a share: 1 is the clean model's loss. */
  recovered: number;
}

/** Two trade-off curves at one level of loss recovered. */
interface Level {
  recovered: number;
  gated: number;
  standard: number;
  /** L0 gated / L0 standard: the firing ratio. */
  ratio: number;
}

/** The range of loss recovered covered by a curve, [min, max]. */
type Span = readonly [number, number];

/** The result of comparing two curves. */
type FiringRatio =
  | { readonly kind: 'ratio'; readonly levels: readonly Level[]; readonly mean: number; readonly span: Span }
  /** The curves' ranges of loss recovered do not overlap. */
  | { readonly kind: 'apart'; readonly gated: Span; readonly standard: Span }
  /** A curve has no point. */
  | { readonly kind: 'none' };

/** Number of levels of loss recovered at which the ratio is listed. */
const LEVELS = 5;

/**
 * Transform applied to loss recovered before interpolation: −ln(1 − loss recovered), the log of the loss not recovered.
 * Near 1, where SAEs are, equal steps are equal factors of added loss; on the untransformed scale, everything that
 * distinguishes 98 % from 99.8 % would be in its last hundredth.
 */
export function transformed(recovered: number): number {
  return -Math.log1p(-recovered);
}

function untransformed(t: number): number {
  return -Math.expm1(-t);
}

/** A point of a curve: ln L0 against the transformed loss recovered. */
interface Knot {
  t: number;
  logL0: number;
}

/**
 * The curve of a family: its points that no other one dominates (with at most its L0 and at least its loss recovered),
 * by ascending L0. Along it, both L0 and loss recovered increase, so that each loss recovered has one L0. Points that
 * are not finite, or that recover the entire loss or more, are excluded.
 */
export function frontier(points: readonly Tradeoff[]): Tradeoff[] {
  const front: Tradeoff[] = [];
  const usable = points.filter(({ l0, recovered }) => l0 > 0 && Number.isFinite(l0) && recovered < 1);
  for (const point of usable.sort((a, b) => a.l0 - b.l0 || b.recovered - a.recovered)) {
    if (Number.isFinite(point.recovered) && point.recovered > (front.at(-1)?.recovered ?? Number.NEGATIVE_INFINITY)) {
      front.push(point);
    }
  }
  return front;
}

function knotsOf(front: readonly Tradeoff[]): Knot[] {
  return front.map(({ l0, recovered }) => ({ t: transformed(recovered), logL0: Math.log(l0) }));
}

/** ln L0 at t, interpolated linearly between adjacent knots; t must be within the curve. */
function at(knots: readonly Knot[], t: number): number {
  const right = knots.findIndex((knot) => knot.t >= t);
  if (right <= 0) return knots.at(right)!.logL0;
  const [a, b] = [knots[right - 1]!, knots[right]!];
  return a.logL0 + ((t - a.t) / (b.t - a.t)) * (b.logL0 - a.logL0);
}

/**
 * L0 gated / L0 standard at equal loss recovered.
 *
 * Each curve is ln L0, piecewise linear in t = −ln(1 − loss recovered). They are compared where both exist, without
 * extrapolation. `levels` are equally spaced in t, including the ends. `mean` is the geometric mean of the ratio over
 * that range of t: exp of the mean of ln ratio, whose integral is exact since both curves are piecewise linear. The
 * paper's ratio is about one half.
 */
export function firingRatio(
  gatedPoints: readonly Tradeoff[],
  standardPoints: readonly Tradeoff[],
  count = LEVELS,
): FiringRatio {
  const [gated, standard] = [gatedPoints, standardPoints].map((points) => knotsOf(frontier(points))) as [
    Knot[],
    Knot[],
  ];
  if (gated.length === 0 || standard.length === 0) return { kind: 'none' };
  const low = Math.max(gated[0]!.t, standard[0]!.t);
  const high = Math.min(gated.at(-1)!.t, standard.at(-1)!.t);
  if (low > high) return { kind: 'apart', gated: spanOf(gated), standard: spanOf(standard) };
  const logRatio = (t: number) => at(gated, t) - at(standard, t);
  const steps = low === high ? 1 : count;
  const levels = Array.from({ length: steps }, (_, i) => {
    const t = i === steps - 1 ? high : low + (i * (high - low)) / (steps - 1);
    const [g, s] = [Math.exp(at(gated, t)), Math.exp(at(standard, t))];
    return { recovered: untransformed(t), gated: g, standard: s, ratio: g / s };
  });
  const bends = [...gated, ...standard].map(({ t }) => t).filter((t) => t > low && t < high);
  const places = [low, ...bends.sort((a, b) => a - b), high];
  const integral = places.slice(1).reduce((sum, t, i) => {
    const before = places[i]!;
    return sum + ((t - before) * (logRatio(before) + logRatio(t))) / 2;
  }, 0);
  const mean = Math.exp(low === high ? logRatio(low) : integral / (high - low));
  return { kind: 'ratio', levels, mean, span: [untransformed(low), untransformed(high)] };
}

function spanOf(knots: readonly Knot[]): Span {
  return [untransformed(knots[0]!.t), untransformed(knots.at(-1)!.t)];
}

/** Gated against standard at one hook, from the report's own SAEs or a reference. */
interface Comparison {
  site: string;
  /** The reference that the points come from, if any. */
  reference: string | null;
  result: FiringRatio;
}

/** One comparison per hook that has both gated and standard points; the reference's come after the report's own. */
export function comparisonsOf(points: readonly Point[], reference: string | null = null): Comparison[] {
  const usable = points.filter(drawable);
  return distinct(usable.map(({ site }) => site)).flatMap((site) =>
    [false, true].flatMap((faint) => {
      const [gated, standard] = COMPARED.map((family) =>
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
      return `At ${of} one of the curves has no point to compare with.`;
  }
}

/** The report's own mean over its hooks, if several have a ratio. */
export function overallSentence(comparisons: readonly Comparison[]): string | null {
  const means = comparisons.flatMap(({ reference, result }) =>
    reference === null && result.kind === 'ratio' ? [result.mean] : [],
  );
  if (means.length < 2) return null;
  const mean = Math.exp(means.reduce((sum, ratio) => sum + Math.log(ratio), 0) / means.length);
  return `Geometric mean over ${counted(means.length, 'site')}: ${fixed(mean, 2)}.`;
}

function firingRows({ site, reference, result }: Comparison): Markup | null {
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

/** The firing ratios as a table, null if no two curves overlap. */
export function firingTable(comparisons: readonly Comparison[]): Markup | null {
  if (!comparisons.some(({ result }) => result.kind === 'ratio')) return null;
  return markup`<table class="firing">
<thead><tr><th scope="col" class="number">Loss recovered<span class="unit">%</span></th><th scope="col" class="number">L0, gated<span class="unit">per token</span></th><th scope="col" class="number">L0, standard<span class="unit">per token</span></th><th scope="col" class="number">Firing ratio<span class="unit">gated / standard</span></th></tr></thead>
${comparisons.map(firingRows)}</table>`;
}

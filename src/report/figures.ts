import { crossEntropyFigure } from './cross-entropy.js';
import { densityFigure } from './density.js';
import { distinct, type Entry, families } from './entries.js';
import { comparisonsOf, firingSentence, firingTable, overallSentence } from './firing-table.js';
import { listed } from './format.js';
import { l0DistributionFigure } from './l0-distribution.js';
import { lossByPositionFigure } from './loss-by-position.js';
import { type Markup, markup, type Part } from './markup.js';
import { absentFigure, captionedTable, figure } from './page.js';
import { notDrawn, paretoFigure } from './pareto.js';
import { drawable, type Point, pointsOf } from './points.js';
import { type PublishedSae, REFERENCE_NAMES, type ReferenceName, referencePoints, sitesByHook } from './reference.js';
import { shrinkageFigure } from './shrinkage.js';
import { trainingCurvesFigure, withoutCurve } from './training-curves.js';

/** What the figures take beside the SAEs. */
export interface FigureContext {
  reference?: { name: ReferenceName; saes: readonly PublishedSae[] };
  /** The commands that a caption names: for what was evaluated, and for what was recorded while training. */
  measured: Markup;
  trained: Markup;
  /** Tables before the figures. */
  tables: number;
}

/** What figures 1 and 2 say of their points, after what they show. */
function pointsNote(
  entries: readonly Entry[],
  points: readonly Point[],
  quantity: string,
  published: string | undefined,
): string {
  const several = distinct(entries.map(({ site }) => site)).length > 1;
  const compared = families(entries).some((family) => family.length > 1);
  return [
    `A point is an SAE${several ? ', a panel a hook' : ''}.`,
    compared ? 'Lines join SAEs of one architecture in the order of their L0.' : '',
    points.some(({ valueInterval, l0Interval }) => valueInterval ?? l0Interval)
      ? 'Lines through a point are 95 % intervals, by bootstrap over contexts.'
      : '',
    published === undefined ? '' : `Faint: ${published} (arXiv 2404.16014, tables 1 to 4).`,
    notDrawn(points, quantity),
  ]
    .filter(Boolean)
    .join(' ');
}

/** The firing ratios: a sentence for each site that has both kinds of SAE, and a table where curves overlap. */
function firing(
  points: readonly Point[],
  published: string | undefined,
  { measured, tables }: FigureContext,
): { sentences: Part; table: Part } {
  const comparisons = comparisonsOf(points, published ?? null);
  if (comparisons.length === 0) return { sentences: null, table: null };
  const table = firingTable(comparisons);
  const overall = overallSentence(comparisons);
  const items = [...comparisons.map(firingSentence), ...(overall === null ? [] : [overall])];
  const sentences = markup`<ul class="firing-sentences">
${items.map((sentence) => markup`<li>${sentence}</li>\n`)}</ul>
`;
  const caption = `Firing features at equal loss recovered: L0 of gated SAEs over that of standard ones, interpolated along the curves of figure 1 (definition below). The paper’s ratio is about one half.`;
  return { sentences, table: table === null ? null : captionedTable(tables + 1, table, caption, measured) };
}

/** Figures 1 to 7 with their captions: the first with the sentences of its firing ratios, and their table before the rest. */
export function figuresOf(entries: readonly Entry[], context: FigureContext): { first: Part; rest: Part } {
  const { reference, measured, trained } = context;
  const published = reference === undefined ? undefined : REFERENCE_NAMES[reference.name];
  const layer = (quantity: 'loss_recovered' | 'gamma') =>
    reference === undefined ? [] : referencePoints(reference.saes, sitesByHook(entries), quantity, published!);
  const recovered = [...pointsOf(entries, 'loss_recovered'), ...layer('loss_recovered')];
  const bias = [...pointsOf(entries, 'relative_reconstruction_bias'), ...layer('gamma')];
  const banded = entries.some(({ record }) => record.intervals?.delta_ce !== undefined);
  const ratios = firing(recovered, published, context);
  const against = (number: number, drawn: Markup, points: readonly Point[], quantity: string, caption: string) =>
    points.some(drawable)
      ? figure(number, drawn, `${caption} ${pointsNote(entries, points, quantity, published)} `, measured)
      : absentFigure(
          number,
          `No SAE has a place in a picture of ${quantity} against L0. ${notDrawn(points, quantity)}`,
        );
  const first = [
    against(
      1,
      paretoFigure(recovered, { reference: published }),
      recovered,
      'loss recovered',
      `Loss recovered against L0: how much of the model’s prediction survives when its activations are replaced by the SAE’s reconstructions, and with how many active features a token. Up and to the left is better.`,
    ),
    ratios.sentences,
  ];
  const rest = [
    ratios.table,
    against(
      2,
      shrinkageFigure(bias, { reference: published }),
      bias,
      'γ',
      'Relative reconstruction bias γ against L0. Below 1 (dotted), reconstructions are too small: shrinkage.',
    ),
    trainingFigure(entries, trained),
    figure(
      4,
      densityFigure(entries, 'figure-4'),
      `Feature density: how many features (height) are active on which share of the counted positions (log₁₀, −2 is one position in a hundred).${entries.length === 1 ? '' : ' All panels have the same axes.'} Features that were active on no counted position have no density; they are counted as dead above each histogram and are in none of its bins. `,
      measured,
    ),
    figure(
      5,
      crossEntropyFigure(entries, 'figure-5'),
      `Next-token cross-entropy of the clean model, with the SAE spliced in, and with the site zero-ablated. The axis shows what the latter two add to the clean loss, in nats a token. It is logarithmic: the length of the bar, from spliced to zero-ablated, is −log(1 − loss recovered), so that equal lengths are equal factors. An arrow (◂) at the left end is an SAE that adds no loss.${banded ? ' The band at a symbol is its 95 % interval, by bootstrap over contexts.' : ''} `,
      measured,
    ),
    distributions(entries, measured),
  ];
  return { first, rest };
}

function trainingFigure(entries: readonly Entry[], trained: Markup): Markup {
  const curves = trainingCurvesFigure(entries, 'figure-3');
  if (curves === null) return absentFigure(3, 'There are no training curves: no SAE came with a metrics.jsonl.');
  const absent = withoutCurve(entries).map(({ fullName }) => fullName);
  const absentNote = absent.length === 0 ? '' : ` No training curve came with ${listed(absent)}.`;
  const compared = families(entries).some((family) => family.length > 1);
  return figure(
    3,
    curves,
    `Training curves against activations seen. Values are means over the steps since the line of metrics.jsonl before, except dead features and learning rate, which are as they stood; curves of more than 400 lines are averaged over buckets of consecutive lines. ${!compared ? '' : 'Within an architecture, the stronger the line, the larger the SAE’s L0 in the evaluation. '}Loss is on normalised activations. Axes show what follows the first 5 % of training, without its rarest values (1 % at each end) and without explained variance far below 0 while other SAEs are above; ▾ and ▴ mark curves that end beyond an axis, with their last value.${absentNote} `,
    trained,
  );
}

/** Figures 6 and 7, of what newer evaluations measure. */
function distributions(entries: readonly Entry[], measured: Markup): Part {
  const positions = lossByPositionFigure(entries, 'figure-6');
  const l0 = l0DistributionFigure(entries, 'figure-7');
  const strength = entries.length > 1 ? ' The stronger the line, the larger the SAE’s L0.' : '';
  return [
    positions === null
      ? null
      : figure(
          6,
          positions,
          `Cross-entropy by position in the context, mean over bins of positions: clean model (broken line) and SAEs spliced in; dotted, where it is within the axis, the site zero-ablated.${strength} `,
          measured,
        ),
    l0 === null
      ? null
      : figure(
          7,
          l0,
          `Distribution of L0 over tokens: on which share of the counted positions at most so many features are active (log scale). The height 50 is the median.${strength} `,
          measured,
        ),
  ];
}

import { configurationSection } from './configuration.js';
import { crossEntropyFigure } from './cross-entropy.js';
import { DEFINITIONS } from './definitions.js';
import { densityFigure } from './density.js';
import { distinct, type Entry, entriesOf, families } from './entries.js';
import { counted, integer, listed } from './format.js';
import { type Markup, markup, type Part } from './markup.js';
import { matchedSentences } from './matched.js';
import { absentFigure, captionedTable, figure, page } from './page.js';
import { paretoFigure, paretoMissing } from './pareto.js';
import type { Evaluation } from './read.js';
import { styleSheet } from './style.js';
import { headlineTable } from './table.js';
import { trainingCurvesFigure, withoutCurve } from './training-curves.js';

/** What the page says beside the evaluation. */
export interface ReportOptions {
  /** Heading of the page. Default: "Sparse autoencoders on MODEL". */
  title?: string;
  /** What made the page, for its foot, as "sae-pipe 0.1.0". */
  generator?: string;
}

/** 6 gated, 6 standard. */
function architectures(entries: readonly Entry[]): string {
  return distinct(entries.map(({ record }) => record.architecture))
    .map((name) => `${entries.filter(({ record }) => record.architecture === name).length} ${name}`)
    .join(', ');
}

/** One sentence: which SAEs, of which model and hook, evaluated on how many tokens. */
function summary(entries: readonly Entry[]): string {
  const records = entries.map(({ record }) => record);
  const of =
    entries.length === 1
      ? `One ${records[0]!.architecture} SAE`
      : `${counted(entries.length, 'SAE')} (${architectures(entries)})`;
  const tokens = distinct(records.map((record) => record.tokens)).sort((a, b) => a - b);
  const onTokens =
    tokens.length === 1 ? counted(tokens[0]!, 'token') : `${integer(tokens[0]!)} to ${integer(tokens.at(-1)!)} tokens`;
  const models = listed(distinct(records.map(({ model }) => model)));
  return `${of} at ${listed(distinct(records.map(({ hook }) => hook)))} of ${models}, evaluated on ${onTokens}.`;
}

function figures(entries: readonly Entry[]): Part {
  const several = distinct(entries.map(({ site }) => site)).length > 1;
  const one = entries.length === 1;
  const curves = trainingCurvesFigure(entries);
  const absent = withoutCurve(entries).map(({ name }) => name);
  const absentNote = absent.length === 0 ? '' : ` No training curve came with ${listed(absent)}.`;
  const compared = families(entries).some((family) => family.length > 1);
  const joined = !compared ? '' : ' Lines join SAEs of one architecture in the order of their L0.';
  return [
    figure(
      1,
      paretoFigure(entries),
      `Loss recovered against L0: how much of the model’s prediction survives when its activations are replaced by the SAE’s reconstructions, and with how many active features a token. Up and to the left is better. A point is an SAE${several ? ', a panel a hook' : ''}.${joined} ${[...matchedSentences(entries), paretoMissing(entries)].filter(Boolean).join(' ')} `,
    ),
    curves === null
      ? absentFigure(2, `There are no training curves: no SAE came with a metrics.jsonl.`)
      : figure(
          2,
          curves,
          `Training curves against activations seen. Values are means over the steps since the line of metrics.jsonl before, except dead features and learning rate, which are as they stood; curves of more than 400 lines are averaged over buckets of consecutive lines. ${!compared ? '' : 'Within an architecture, the stronger the line, the larger the SAE’s L0 in the evaluation. '}Loss is on normalised activations. The axis of explained variance leaves out what lies below it in the first 5 % of training.${absentNote} `,
        ),
    figure(
      3,
      densityFigure(entries),
      `Feature density: how many features (height) are active on which share of the counted positions (log₁₀, −2 is one position in a hundred).${one ? '' : ' All panels have the same axes.'} Features that were active on no counted position have no density; they are counted as dead above each histogram and are in none of its bins. `,
    ),
    figure(
      4,
      crossEntropyFigure(entries),
      'Next-token cross-entropy of the clean model, with the SAE spliced in, and with the site zero-ablated. The axis shows what the latter two add to the clean loss, in nats a token. It is logarithmic: the length of the bar, from spliced to zero-ablated, is −log(1 − loss recovered), so that equal lengths are equal factors. An arrow (◂) at the left end is an SAE that adds no loss. ',
    ),
  ];
}

/** The names of SAEs that were measured on unlike numbers of tokens cannot be compared row by row: say so. */
function tokensNote(entries: readonly Entry[]): string {
  return distinct(entries.map(({ record }) => record.tokens)).length > 1
    ? ' The SAEs were not all evaluated on the same number of tokens.'
    : '';
}

/**
 * The report on an evaluation: one HTML document that needs no network and nothing beside it. Equal input gives equal
 * output.
 */
export function renderReport(evaluation: Evaluation, options: ReportOptions = {}): string {
  const entries = entriesOf(evaluation);
  const models = distinct(entries.map(({ record }) => record.model));
  const title = options.title ?? `Sparse autoencoders on ${listed(models)}`;
  const foot = options.generator ?? '';
  const footer: Markup | null = foot === '' ? null : markup`<footer>${foot}</footer>`;
  const tableCaption = `Means over the counted positions. ↑ larger is better, ↓ smaller is better, → 1 the nearer to 1 the better; definitions are below and at the column heads.${tokensNote(entries)}`;
  return page({
    title,
    style: styleSheet(entries.length),
    body: markup`<header>
<h1>${title}</h1>
<p class="summary">${summary(entries)}</p>
</header>
${captionedTable(1, headlineTable(entries), tableCaption)}
${figures(entries)}
<section><h2>Definitions</h2>
${DEFINITIONS}
</section>
<section><h2>Configuration</h2>
${configurationSection(entries)}
</section>
${footer}`,
  });
}

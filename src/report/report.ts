import { version } from '../config/flags.js';
import type { ReportConfig } from '../config/stages/pages.js';
import { listed } from '../config/suggest.js';
import { UsageRefusal } from '../errors/refusal.js';
import { foreignTexts } from '../eval/foreign-text.js';
import { type Evaluation, hasNoBos, readEvaluation } from '../eval/record.js';
import { drawable, notDrawn, type Point, paretoFigure, pointsOf, shrinkageFigure } from './against-l0.js';
import { crossEntropyFigure } from './cross-entropy.js';
import { densityFigure, l0DistributionFigure, lossByPositionFigure } from './distributions.js';
import { distinct, type Entry, entriesOf, families } from './entries.js';
import { comparisonsOf, firingSentence, firingTable, overallSentence } from './firing-ratio.js';
import { counted, fixed, integer, percent } from './numbers-and-axes.js';
import { absentFigure, captionedFigure, captionedTable, type Markup, type MarkupPart, markup, page } from './page.js';
import { checkOutputFile, writeOutputFile } from './page-file.js';
import {
  commandsOf,
  configurationSection,
  featuresCommands,
  type ReportSource,
  sweepCommands,
  trainCommand,
} from './provenance.js';
import {
  checkReference,
  type PublishedSae,
  REFERENCE_NAMES,
  type ReferenceName,
  readReference,
  referencePoints,
  sitesByHook,
} from './reference.js';
import { csvOf, DEFINITIONS, furtherTable, headlineTable, WITHOUT_BOS } from './sae-tables.js';
import { trainingCurvesFigure, withoutCurve } from './training-curves.js';

/**
 * Renders the evaluation in config.evaluation as one HTML file, or writes its tables as one CSV file.
 *
 * @returns the file's path
 */
export async function writeReport(config: ReportConfig): Promise<string> {
  const { evaluation, out, title, reference } = config;
  const found = await readEvaluation(evaluation);
  await checkOutputFile(out, [evaluation]);
  if (/\.csv$/i.test(out)) return writeOutputFile(out, csvOf(entriesOf(found)), config.overwrite);
  if (!/\.html?$/i.test(out)) {
    throw new UsageRefusal(
      `--out ${out} is neither an .html nor a .csv file.`,
      'For a PDF of the page, print the .html file from a browser; `sae-pipe figure` writes single figures as .svg, .png and .pdf.',
      'report/unknown-ending',
    );
  }
  const published = reference === undefined ? undefined : { name: reference, saes: await readReference(reference) };
  const html = renderReport(found, {
    title,
    generator: `sae-pipe ${version()}`,
    source: { evaluation, out, title, reference, directory: process.cwd() },
    reference: published,
  });
  return writeOutputFile(out, html, config.overwrite);
}

/** Options of the page besides the evaluation. */
interface ReportOptions {
  /** Heading of the page. Default: "Sparse autoencoders on MODEL". */
  title?: string;
  /** The generator shown in the footer, as "sae-pipe 0.1.0". */
  generator?: string;
  /** Paths of evaluation and page, for the commands. */
  source?: ReportSource;
  /** Published points to show along with the report's own. */
  reference?: { name: ReferenceName; saes: readonly PublishedSae[] };
}

/** For example: 6 gated, 6 standard. */
function familyCounts(entries: readonly Entry[]): string {
  const names = distinct(entries.map(({ family }) => family));
  const counts = names.map((name) => `${entries.filter(({ family }) => family === name).length} ${name}`);
  return counts.join(names.some((name) => name.includes(',')) ? '; ' : ', ');
}

/** One sentence: which SAEs, of which model and hook, evaluated on how many tokens. */
function summarySentence(entries: readonly Entry[]): string {
  const records = entries.map(({ record }) => record);
  const of =
    entries.length === 1
      ? `One ${entries[0]!.family} SAE`
      : `${counted(entries.length, 'SAE')} (${familyCounts(entries)})`;
  const tokens = distinct(records.map((record) => record.tokens)).sort((a, b) => a - b);
  const onTokens =
    tokens.length === 1 ? counted(tokens[0]!, 'token') : `${integer(tokens[0]!)} to ${integer(tokens.at(-1)!)} tokens`;
  const models = listed(distinct(records.map(({ model }) => model)));
  return `${of} at ${listed(distinct(records.map(({ hook }) => hook)))} of ${models}, evaluated on ${onTokens}.`;
}

/** The main result in one sentence: the firing ratio if available, otherwise the best SAE. */
function resultSentence(entries: readonly Entry[]): string {
  const points = pointsOf(entries, 'loss_recovered').filter(drawable);
  const means = comparisonsOf(points).flatMap(({ result }) => (result.kind === 'ratio' ? [result.mean] : []));
  if (means.length > 0) {
    const mean = Math.exp(means.reduce((sum, ratio) => sum + Math.log(ratio), 0) / means.length);
    const over = means.length > 1 ? ` (geometric mean over ${counted(means.length, 'site')})` : '';
    return `At equal loss recovered, gated SAEs fire ${fixed(mean, 2)} times as many features per token as standard ones${over}.`;
  }
  const best = points.reduce<Point | null>(
    (top, point) => (top === null || point.value > top.value ? point : top),
    null,
  );
  if (best === null) {
    const why = distinct(entries.map(({ record }) => record.reasons?.loss_recovered));
    return why.length === 1 && why[0] !== undefined
      ? `Loss recovered has no value here: ${why[0]}.`
      : 'No SAE has both an L0 above 0 and a value of loss recovered.';
  }
  const which =
    points.length > 1 ? `The best of ${counted(entries.length, 'SAE')}, ${best.name},` : `The SAE ${best.name}`;
  return `${which} recovers ${percent(best.value, 2)} % of the loss with ${fixed(best.l0, 1)} active features per token.`;
}

/** Warns if SAEs were measured on different numbers of tokens, so that rows are not comparable. */
function tokensNote(entries: readonly Entry[]): string {
  return distinct(entries.map(({ record }) => record.tokens)).length > 1
    ? ' The SAEs were not all evaluated on the same number of tokens.'
    : '';
}

/** The complete commands, shown once; captions abbreviate them. */
function commandsSection(entries: readonly Entry[], source: ReportSource): Markup {
  const { text, measure } = commandsOf(entries, source);
  const sweeps = sweepCommands(entries);
  const how = measure
    ? 'The commands that measured the numbers and drew this page. When run in a shell where the files are, they repeat the measurement and replace its results (--overwrite).'
    : 'The command that drew this page. The evaluation does not record the command that measured the numbers.';
  const alone = entries.some(({ record }) => trainCommand(record) !== null);
  const train = alone ? ' The commands that trained the SAEs are below, under Configuration.' : '';
  const sweep =
    sweeps.length === 0
      ? null
      : markup`<p>The SAEs were trained and evaluated by a sweep. Rerunning its command resumes it where it stopped; with another --out it starts from scratch.</p>
${sweeps.map((command) => markup`<pre class="sweep">${command}</pre>\n`)}`;
  const look = featuresCommands(entries, source);
  const features =
    look &&
    markup`<p>Commands that collect what each feature of these SAEs responds to, on the same text, and show it in a browser.</p>
<pre class="features">${look}</pre>
`;
  return markup`<section id="commands"><h2>Commands</h2>
<p>${how}${train}</p>
<pre>${text}</pre>
${features}${sweep}</section>
`;
}

/**
 * The report on an evaluation: one self-contained HTML document that needs no network. Equal input gives equal output.
 *
 * @throws Refusal if the requested reference has no points at any of the hooks
 */
export function renderReport(evaluation: Evaluation, options: ReportOptions = {}): string {
  const entries = entriesOf(evaluation);
  const { reference, source } = options;
  if (reference) checkReference(reference.saes, entries, reference.name);
  const models = distinct(entries.map(({ record }) => record.model));
  const title = options.title ?? `Sparse autoencoders on ${listed(models)}`;
  const foot = options.generator ?? '';
  const footer: Markup | null = foot === '' ? null : markup`<footer>${foot}</footer>`;
  const inFull = source && markup` <a href="#commands">Commands</a>`;
  const made = (stage: string) =>
    markup` <span class="made">Data: sae-pipe ${stage}. Drawn by sae-pipe report.${inFull ?? null}</span>`;
  const measured = made('eval');
  const trained = made('train');
  const further = furtherTable(entries);
  const intervals = entries.some(({ record }) => record.intervals !== undefined);
  const below = intervals ? ' Below each value is its 95 % interval, by bootstrap over contexts.' : '';
  const tableCaption = `Means over the counted positions. ↑ larger is better, ↓ smaller is better, → 1 closer to 1 is better; definitions are below and in the column headers.${below}${tokensNote(entries)}`;
  const figures = figuresOf(entries, { reference, measured, trained, tables: further === null ? 1 : 2 });
  return page({
    title,
    saes: entries.length,
    body: markup`<header>
<h1>${title}</h1>
<p class="result">${resultSentence(entries)}</p>
<p class="summary">${summarySentence(entries)}</p>
${foreignTexts(entries.map(({ record }) => record)).map((sentence) => markup`<p class="foreign">${sentence}.</p>\n`)}</header>
${figures.first}
${captionedTable(1, headlineTable(entries), tableCaption, measured)}
${further === null ? null : captionedTable(2, further, 'Further measurements of the same evaluation.', measured)}
${figures.rest}
${source ? commandsSection(entries, source) : null}<section><h2>Definitions</h2>
${DEFINITIONS}${entries.some(({ record }) => hasNoBos(record)) ? WITHOUT_BOS : null}
</section>
<section><h2>Configuration</h2>
${configurationSection(entries)}
</section>
${footer}`,
  });
}

/** Inputs of the figures besides the SAEs. */
interface FigureContext {
  reference?: { name: ReferenceName; saes: readonly PublishedSae[] };
  /** The commands named in captions: for evaluated data, and for data recorded during training. */
  measured: Markup;
  trained: Markup;
  /** Number of tables before the figures. */
  tables: number;
}

/** Caption of figures 1 and 2 about their points. */
function pointsNote(
  entries: readonly Entry[],
  points: readonly Point[],
  quantity: string,
  published: string | undefined,
): string {
  const several = distinct(entries.map(({ site }) => site)).length > 1;
  const compared = families(entries).some((family) => family.length > 1);
  return [
    `One point per SAE${several ? ', one panel per hook' : ''}.`,
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

/** The firing ratios: one sentence for each hook with both kinds of SAE, and a table if curves overlap. */
function firing(
  points: readonly Point[],
  published: string | undefined,
  { measured, tables }: FigureContext,
): { sentences: MarkupPart; table: MarkupPart } {
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

/** Figures 1 to 7 with their captions; the first is followed by the sentences and the table of its firing ratios. */
function figuresOf(entries: readonly Entry[], context: FigureContext): { first: MarkupPart; rest: MarkupPart } {
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
      ? captionedFigure(number, drawn, `${caption} ${pointsNote(entries, points, quantity, published)} `, measured)
      : absentFigure(
          number,
          `No SAE can be shown in a figure of ${quantity} against L0. ${notDrawn(points, quantity)}`,
        );
  const first = [
    against(
      1,
      paretoFigure(recovered, { reference: published }),
      recovered,
      'loss recovered',
      `Loss recovered against L0: how much of the model’s prediction survives when its activations are replaced by the SAE’s reconstructions, and with how many active features per token. Up and to the left is better.`,
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
    captionedFigure(
      4,
      densityFigure(entries, 'figure-4'),
      `Feature density: how many features (height) are active on which share of the counted positions (log₁₀, −2 is one position in a hundred).${entries.length === 1 ? '' : ' All panels have the same axes.'} Features that were never active on the counted positions have no density; they are counted as dead above each histogram and are in none of its bins. `,
      measured,
    ),
    captionedFigure(
      5,
      crossEntropyFigure(entries, 'figure-5'),
      `Next-token cross-entropy of the clean model, with the SAE spliced in, and with the site zero-ablated. The axis shows the increase of the latter two over the clean loss, in nats per token. It is logarithmic: the length of the bar, from spliced to zero-ablated, is −log(1 − loss recovered), so that equal lengths are equal factors. An arrow (◂) at the left end is an SAE that adds no loss.${banded ? ' The band at a symbol is its 95 % interval, by bootstrap over contexts.' : ''} `,
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
  return captionedFigure(
    3,
    curves,
    `Training curves against activations seen. Values are means over the steps since the previous line of metrics.jsonl, except dead features and learning rate, which are momentary; curves of more than 400 lines are averaged over buckets of consecutive lines. ${!compared ? '' : 'Within an architecture, stronger lines have a larger L0 in the evaluation. '}Loss is on normalised activations. Axes show what follows the first 5 % of training, without its rarest values (1 % at each end) and without explained variance far below 0 while other SAEs are above; ▾ and ▴ mark curves that end beyond an axis, with their last value.${absentNote} `,
    trained,
  );
}

/** Figures 6 and 7, for quantities only measured by newer evaluations. */
function distributions(entries: readonly Entry[], measured: Markup): MarkupPart {
  const positions = lossByPositionFigure(entries, 'figure-6');
  const l0 = l0DistributionFigure(entries, 'figure-7');
  const strength = entries.length > 1 ? ' Stronger lines have a larger L0.' : '';
  return [
    positions === null
      ? null
      : captionedFigure(
          6,
          positions,
          `Cross-entropy by position in the context, mean over bins of positions: clean model (dashed) and SAEs spliced in; dotted, where it is within the axis, the site zero-ablated.${strength} `,
          measured,
        ),
    l0 === null
      ? null
      : captionedFigure(
          7,
          l0,
          `Cumulative distribution of L0 over the counted positions (log scale). The height 50 is the median.${strength} `,
          measured,
        ),
  ];
}

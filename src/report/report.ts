import { configurationSection } from './configuration.js';
import { DEFINITIONS } from './definitions.js';
import { distinct, type Entry, entriesOf } from './entries.js';
import { figuresOf } from './figures.js';
import { comparisonsOf } from './firing-table.js';
import { counted, fixed, integer, listed, percent } from './format.js';
import { type Markup, markup } from './markup.js';
import { captionedTable, page } from './page.js';
import { drawable, type Point, pointsOf } from './points.js';
import { commandsOf, type Source, sweepCommands, trainCommand } from './provenance.js';
import type { Evaluation } from './read.js';
import { checkReference, type PublishedSae, type ReferenceName } from './reference.js';
import { furtherTable, headlineTable } from './table.js';

/** What the page says beside the evaluation. */
export interface ReportOptions {
  /** Heading of the page. Default: "Sparse autoencoders on MODEL". */
  title?: string;
  /** What made the page, for its foot, as "sae-pipe 0.1.0". */
  generator?: string;
  /** Where the evaluation was read and the page is written, for the commands. */
  source?: Source;
  /** Published points beside the report's own. */
  reference?: { name: ReferenceName; saes: readonly PublishedSae[] };
}

/** 6 gated, 6 standard. */
function families(entries: readonly Entry[]): string {
  const names = distinct(entries.map(({ family }) => family));
  const counts = names.map((name) => `${entries.filter(({ family }) => family === name).length} ${name}`);
  return counts.join(names.some((name) => name.includes(',')) ? '; ' : ', ');
}

/** One sentence: which SAEs, of which model and hook, evaluated on how many tokens. */
function summary(entries: readonly Entry[]): string {
  const records = entries.map(({ record }) => record);
  const of =
    entries.length === 1 ? `One ${entries[0]!.family} SAE` : `${counted(entries.length, 'SAE')} (${families(entries)})`;
  const tokens = distinct(records.map((record) => record.tokens)).sort((a, b) => a - b);
  const onTokens =
    tokens.length === 1 ? counted(tokens[0]!, 'token') : `${integer(tokens[0]!)} to ${integer(tokens.at(-1)!)} tokens`;
  const models = listed(distinct(records.map(({ model }) => model)));
  return `${of} at ${listed(distinct(records.map(({ hook }) => hook)))} of ${models}, evaluated on ${onTokens}.`;
}

/** What the evaluation found, in one sentence: the firing ratio where it can be told, else the best of the SAEs. */
function result(entries: readonly Entry[]): string {
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
      : 'No SAE has both an L0 above 0 and a loss recovered that can be told.';
  }
  const which =
    points.length > 1 ? `The best of ${counted(entries.length, 'SAE')}, ${best.name},` : `The SAE ${best.name}`;
  return `${which} recovers ${percent(best.value, 2)} % of the loss with ${fixed(best.l0, 1)} active features per token.`;
}

/** The names of SAEs that were measured on unlike numbers of tokens cannot be compared row by row: say so. */
function tokensNote(entries: readonly Entry[]): string {
  return distinct(entries.map(({ record }) => record.tokens)).length > 1
    ? ' The SAEs were not all evaluated on the same number of tokens.'
    : '';
}

/** Whole commands, once; captions name them short. */
function commands(entries: readonly Entry[], source: Source): Markup {
  const { text, measure } = commandsOf(entries, source);
  const sweeps = sweepCommands(entries);
  const how = measure
    ? 'What measured the numbers, and what drew this page from them. Pasted into a shell where the files are, they measure and draw again, and replace what they wrote (--overwrite).'
    : 'What drew this page. The evaluation does not record the command that measured the numbers.';
  const alone = entries.some(({ record }) => trainCommand(record) !== null);
  const train = alone ? ' What trained the SAEs is below, under Configuration.' : '';
  const sweep =
    sweeps.length === 0
      ? null
      : markup`<p>What trained the SAEs and evaluated them: a sweep. The same command continues it where it was stopped; with another --out it makes all of it anew.</p>
${sweeps.map((command) => markup`<pre class="sweep">${command}</pre>\n`)}`;
  return markup`<section id="commands"><h2>Commands</h2>
<p>${how}${train}</p>
<pre>${text}</pre>
${sweep}</section>
`;
}

/**
 * The report on an evaluation: one HTML document that needs no network and nothing beside it. Equal input gives equal
 * output.
 *
 * @throws Refusal where a reference is asked for that has no points for any of the hooks
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
  const below = intervals ? ' Below a value stands its 95 % interval, by bootstrap over contexts.' : '';
  const tableCaption = `Means over the counted positions. ↑ larger is better, ↓ smaller is better, → 1 the nearer to 1 the better; definitions are below and at the column heads.${below}${tokensNote(entries)}`;
  const figures = figuresOf(entries, { reference, measured, trained, tables: further === null ? 1 : 2 });
  return page({
    title,
    saes: entries.length,
    body: markup`<header>
<h1>${title}</h1>
<p class="result">${result(entries)}</p>
<p class="summary">${summary(entries)}</p>
</header>
${figures.first}
${captionedTable(1, headlineTable(entries), tableCaption, measured)}
${further === null ? null : captionedTable(2, further, 'Further measurements of the same evaluation.', measured)}
${figures.rest}
${source ? commands(entries, source) : null}<section><h2>Definitions</h2>
${DEFINITIONS}
</section>
<section><h2>Configuration</h2>
${configurationSection(entries)}
</section>
${footer}`,
  });
}

import type { EvalRecord, Headline } from '../eval/record.js';
import { distinct, type Entry, recordedLambda } from './entries.js';
import { inlineMarker } from './family-styles.js';
import { fixed, shortSetting } from './numbers-and-axes.js';
import { type Markup, markup } from './page.js';

interface Column {
  title: string;
  /** Its name in a CSV file: the key in eval.json. */
  key: string;
  /** Which direction is better. */
  better?: '↑' | '↓' | '→ 1';
  unit?: string;
  definition: string;
  value: (record: EvalRecord) => number | null | undefined;
  /** Instead of a number of decimals: all significant digits. */
  written?: (value: number) => string;
  /** Conversion to the unit: 100 for a percentage. */
  factor?: number;
  decimals: number;
  /** Key of the value's interval. */
  interval?: Headline;
}

/** The headline columns, with definitions as in src/eval/record.ts. */
const HEADLINE_COLUMNS: readonly Column[] = [
  {
    title: 'λ',
    key: 'lambda',
    definition: 'Sparsity coefficient used in training, as recorded in cfg.json.',
    value: ({ cfg }) => recordedLambda(cfg),
    decimals: 3,
    written: shortSetting,
  },
  {
    title: 'd_sae',
    key: 'd_sae',
    unit: 'features',
    definition: 'Number of features of the dictionary.',
    value: ({ d_sae }) => d_sae,
    decimals: 0,
  },
  {
    title: 'L0',
    key: 'l0',
    better: '↓',
    unit: 'per token',
    definition: 'Mean number of active features per token.',
    value: ({ l0 }) => l0,
    decimals: 1,
    interval: 'l0',
  },
  {
    title: 'Loss recovered',
    key: 'loss_recovered',
    better: '↑',
    unit: '%',
    definition: '1 − (CE(x̂) − CE(x)) / (CE(0) − CE(x)).',
    value: ({ loss_recovered }) => loss_recovered,
    factor: 100,
    decimals: 2,
    interval: 'loss_recovered',
  },
  {
    title: 'ΔCE',
    key: 'delta_ce',
    better: '↓',
    unit: 'nats',
    definition: 'CE(x̂) − CE(x): cross-entropy that splicing adds, in nats per token.',
    value: ({ delta_ce, ce_spliced, ce_clean }) => delta_ce ?? ce_spliced - ce_clean,
    decimals: 4,
    interval: 'delta_ce',
  },
  {
    title: 'KL',
    key: 'kl',
    better: '↓',
    unit: 'nats',
    definition: 'Mean KL(clean ‖ spliced) of the next-token distributions, in nats.',
    value: ({ kl }) => kl,
    decimals: 4,
    interval: 'kl',
  },
  {
    title: 'Explained variance',
    key: 'explained_variance',
    better: '↑',
    definition: '1 − Σ|x − x̂|² / Σ|x − x̄|².',
    value: ({ explained_variance }) => explained_variance,
    decimals: 3,
    interval: 'explained_variance',
  },
  {
    title: 'Explained variance per token',
    key: 'explained_variance_tokens',
    better: '↑',
    definition: 'Mean over positions of 1 − |x − x̂|² / |x − x̄|²: every token has the same weight.',
    value: ({ explained_variance_tokens }) => explained_variance_tokens,
    decimals: 3,
  },
  {
    title: 'Cosine',
    key: 'cosine',
    better: '↑',
    definition: 'Mean cosine of x and x̂.',
    value: ({ cosine }) => cosine,
    decimals: 3,
    interval: 'cosine',
  },
  {
    title: 'γ',
    key: 'relative_reconstruction_bias',
    better: '→ 1',
    definition: 'Relative reconstruction bias, γ = E|x̂|² / E[x̂·x]. Below 1 is shrinkage.',
    value: (record) => record.relative_reconstruction_bias,
    decimals: 3,
    interval: 'relative_reconstruction_bias',
  },
  {
    title: 'Dead',
    key: 'dead_fraction',
    better: '↓',
    unit: '%',
    definition: 'Share of features never active on the counted positions.',
    value: ({ dead_fraction }) => dead_fraction,
    factor: 100,
    decimals: 2,
  },
];

/** Columns that older files lack; a column is shown if an SAE has a value. */
const FURTHER_COLUMNS: readonly Column[] = [
  {
    title: 'Contexts',
    key: 'contexts',
    definition: 'Number of contexts with counted positions.',
    value: ({ contexts }) => contexts,
    decimals: 0,
  },
  {
    title: 'Loss recovered, mean ablation',
    key: 'loss_recovered_mean',
    better: '↑',
    unit: '%',
    definition: '1 − (CE(x̂) − CE(x)) / (CE(x̄) − CE(x)).',
    value: ({ loss_recovered_mean }) => loss_recovered_mean,
    factor: 100,
    decimals: 2,
    interval: 'loss_recovered_mean',
  },
  {
    title: 'CE, mean-ablated',
    key: 'ce_mean',
    unit: 'nats',
    definition: 'CE(x̄): cross-entropy with the activation replaced by its mean.',
    value: ({ ce_mean }) => ce_mean,
    decimals: 3,
  },
  {
    title: 'FVU',
    key: 'fvu',
    better: '↓',
    definition: 'Fraction of variance unexplained, Σ|x − x̂|² / Σ|x − x̄|².',
    value: ({ fvu }) => fvu,
    decimals: 3,
  },
  {
    title: 'Explained variance, median dimension',
    key: 'explained_variance_dimensions_median',
    better: '↑',
    definition: 'Median over dimensions of 1 − Σ (x_i − x̂_i)² / Σ (x_i − x̄_i)².',
    value: ({ explained_variance_dimensions }) => explained_variance_dimensions?.median,
    decimals: 3,
  },
  {
    title: 'Dimensions below 0',
    key: 'explained_variance_dimensions_negative',
    better: '↓',
    unit: '%',
    definition: 'Share of dimensions whose own explained variance is below 0.',
    value: ({ explained_variance_dimensions }) => explained_variance_dimensions?.negative,
    factor: 100,
    decimals: 1,
  },
  {
    title: 'Variance of the largest tokens',
    key: 'variance_held_tokens',
    unit: '%',
    definition: 'Share of Σ|x − x̄|² due to the largest 0.1 % of the counted positions.',
    value: ({ variance_held }) => variance_held?.tokens,
    factor: 100,
    decimals: 1,
  },
  {
    title: 'Variance of the largest dimension',
    key: 'variance_held_largest_dimension',
    unit: '%',
    definition: 'Share of Σ|x − x̄|² due to the dimension with the largest variance.',
    value: ({ variance_held }) => variance_held?.largest_dimension,
    factor: 100,
    decimals: 1,
  },
  {
    title: '|x̂| / |x|',
    key: 'norm_ratio',
    better: '→ 1',
    definition: 'Mean over positions of |x̂| / |x|.',
    value: ({ norm_ratio }) => norm_ratio,
    decimals: 3,
  },
  {
    title: 'Dense',
    key: 'dense_fraction',
    unit: '%',
    definition: 'Share of features active on more than a tenth of the counted positions.',
    value: ({ dense_fraction }) => dense_fraction,
    factor: 100,
    decimals: 2,
  },
  {
    title: 'Decoder cosine, mean',
    key: 'decoder_max_cosine_mean',
    definition: 'Mean over features of the largest cosine of its decoder row with another one.',
    value: ({ decoder_max_cosine }) => decoder_max_cosine?.mean,
    decimals: 3,
  },
  {
    title: 'Decoder cosine, largest',
    key: 'decoder_max_cosine_largest',
    definition: 'The largest cosine of two decoder rows.',
    value: ({ decoder_max_cosine }) => decoder_max_cosine?.largest,
    decimals: 3,
  },
];

function head({ title, better, unit, definition }: Column): Markup {
  const arrow = better === undefined ? null : markup`\u00a0<span class="better">${better}</span>`;
  return markup`<th scope="col" class="number" title="${definition}"><span class="title">${title}</span>${arrow}<span class="unit">${unit ?? ''}</span></th>`;
}

/** Why an SAE has no value in a column, if the evaluation says so. */
function reasonOf({ record }: Entry, { key, value }: Column): string | undefined {
  return Number.isFinite(value(record) ?? Number.NaN) ? undefined : record.reasons?.[key];
}

/** @param notes the reasons listed below the table */
function valueCell(entry: Entry, column: Column, notes: readonly string[]): Markup {
  const { record } = entry;
  const { value, factor = 1, decimals, interval, written } = column;
  const measured = factor * (value(record) ?? Number.NaN);
  const [low, high] = (interval && record.intervals?.[interval]) ?? [];
  const range =
    low === undefined || high === undefined
      ? null
      : markup`<span class="interval">${fixed(factor * low, decimals)} – ${fixed(factor * high, decimals)}</span>`;
  const reason = reasonOf(entry, column);
  if (reason !== undefined) {
    const note = markup`<sup>${String(notes.indexOf(reason) + 1)}</sup>`;
    return markup`<td class="number" data-value="" title="${reason}">–${note}</td>`;
  }
  const sortable = Number.isFinite(measured) ? String(measured) : '';
  return markup`<td class="number" data-value="${sortable}">${written ? written(measured) : fixed(measured, decimals)}${range}</td>`;
}

/** A name that may wrap after a slash, a dot or an underscore. */
function breakable(name: string): Markup {
  return markup`${name.split(/(?<=[/._])/).map((piece) => markup`${piece}<wbr>`)}`;
}

function saeTable(entries: readonly Entry[], columns: readonly Column[]): Markup {
  const sites = distinct(entries.map(({ site }) => site));
  const notes = distinct(entries.flatMap((entry) => columns.map((column) => reasonOf(entry, column)))).filter(
    (reason) => reason !== undefined,
  );
  const row = (entry: Entry) => {
    const name = markup`<span class="marker">${inlineMarker(entry.style)}</span>${breakable(entry.name)}`;
    return markup`<tr data-sae="${entry.index}"><th scope="row" title="${entry.record.sae}">${name}</th>${columns.map((column) => valueCell(entry, column, notes))}</tr>
`;
  };
  const bodies = sites.map((site) => {
    const group =
      sites.length > 1
        ? markup`<tr class="group"><th scope="rowgroup" colspan="${columns.length + 1}">${site}</th></tr>`
        : null;
    return markup`<tbody>${group}${entries.filter((entry) => entry.site === site).map(row)}</tbody>`;
  });
  return markup`<table class="sortable">
<thead><tr><th scope="col" title="Distinguishes the SAE from others at its hook; its path is below, under Configuration."><span class="title">SAE</span></th>${columns.map(head)}</tr></thead>
${bodies}${notes.length === 0 ? null : footNotes(notes, columns.length + 1)}
</table>`;
}

/** Why values are missing, numbered. */
function footNotes(notes: readonly string[], width: number): Markup {
  const lines = notes.map((reason, i) => markup`<p><sup>${String(i + 1)}</sup> No value: ${reason}.</p>`);
  return markup`
<tfoot><tr><td colspan="${width}">${lines}</td></tr></tfoot>`;
}

/** The headline numbers: one row per SAE, one group of rows per hook. */
export function headlineTable(entries: readonly Entry[]): Markup {
  return saeTable(entries, HEADLINE_COLUMNS);
}

/** Quantities only measured by newer evaluations; null if no SAE has any. */
export function furtherTable(entries: readonly Entry[]): Markup | null {
  const measured = (column: Column) =>
    entries.some(
      (entry) => Number.isFinite(column.value(entry.record) ?? Number.NaN) || reasonOf(entry, column) !== undefined,
    );
  const columns = FURTHER_COLUMNS.filter(measured);
  return columns.length === 0 ? null : saeTable(entries, columns);
}

/** A CSV cell according to RFC 4180. */
function cell(value: string | number): string {
  const text = typeof value === 'number' ? (Number.isFinite(value) ? String(value) : '') : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * The report's tables as comma-separated values: one row per SAE, every digit of every number, an empty cell for
 * missing values, and both ends of each interval. Column names are the keys of eval.json.
 */
export function csvOf(entries: readonly Entry[]): string {
  const columns = [...HEADLINE_COLUMNS, ...FURTHER_COLUMNS];
  const head = columns.flatMap(({ key, interval }) => (interval ? [key, `${key}_low`, `${key}_high`] : [key]));
  const rows = entries.map(({ record, name, family }) => [
    ...[
      name.replaceAll('\u00A0', ' '),
      record.sae,
      family,
      record.architecture,
      record.model,
      record.hook,
      record.tokens,
    ],
    ...columns.flatMap(({ value, interval }) => {
      const measured = value(record) ?? Number.NaN;
      const [low, high] = (interval && record.intervals?.[interval]) ?? [Number.NaN, Number.NaN];
      return interval ? [measured, low, high] : [measured];
    }),
  ]);
  const names = ['name', 'sae', 'family', 'architecture', 'model', 'hook', 'tokens', ...head];
  return [names, ...rows].map((row) => `${row.map(cell).join(',')}\r\n`).join('');
}

/** Differences in the definitions for evaluations without BOS. */
export const WITHOUT_BOS: Markup = markup`<p>Contexts of SAEs with prepend_bos false do not begin with BOS: there, every position followed by a token is counted.</p>`;

/** Definitions of all numbers on the page. */
export const DEFINITIONS: Markup = markup`<p>x is the activation at the hook, x̂ its reconstruction by the SAE, f the SAE’s feature activations, T the number of counted positions. A position is counted if it has a token other than BOS and is followed by one: means exclude BOS positions. CE(·) is the model’s mean next-token cross-entropy, in nats per token, with the activation at the hook replaced as written; CE(x) is the clean model.</p>
<dl>
<dt>L0</dt><dd><span class="equation">L0 = (1/T) Σ<sub>t</sub> |{ j : f<sub>j</sub>(x<sub>t</sub>) &gt; 0 }|</span> Mean number of active features per token.</dd>
<dt>Loss recovered</dt><dd><span class="equation">1 − (CE(x̂) − CE(x)) / (CE(0) − CE(x))</span> 100 % is the clean model’s loss, 0 % the loss with the activation set to zero. Rajamanoharan et al. 2024 (arXiv 2404.16014).</dd>
<dt>Loss recovered, mean ablation</dt><dd><span class="equation">1 − (CE(x̂) − CE(x)) / (CE(x̄) − CE(x))</span> As above, with the mean activation x̄ in place of zero.</dd>
<dt>Intervals</dt><dd>95 %, by bootstrap over contexts: where they stand, below a value and as lines through a point, whole contexts were drawn again and again in place of those evaluated.</dd>
<dt>Firing ratio</dt><dd><span class="equation">L0<sub>gated</sub> / L0<sub>standard</sub> at equal loss recovered ℓ</span> Each curve consists of the SAEs of its family that no other dominates, and is ln L0, linear between neighbours in −ln(1 − ℓ). Compared is the range of ℓ that both curves cover; nothing is extrapolated. The mean is the geometric mean over that range, uniform in −ln(1 − ℓ).</dd>
<dt>ΔCE</dt><dd><span class="equation">CE(x̂) − CE(x)</span> Cross-entropy that splicing in the SAE adds.</dd>
<dt>KL</dt><dd><span class="equation">(1/T) Σ<sub>t</sub> Σ<sub>v</sub> p<sub>t</sub>(v) log( p<sub>t</sub>(v) / p̂<sub>t</sub>(v) )</span> p is the clean, p̂ the spliced distribution of the next token over the vocabulary.</dd>
<dt>Explained variance</dt><dd><span class="equation">1 − Σ<sub>t</sub> |x<sub>t</sub> − x̂<sub>t</sub>|² / Σ<sub>t</sub> |x<sub>t</sub> − x̄|²</span> x̄ is the mean activation. FVU is 1 minus it. “Per token”: the mean over positions of 1 − |x<sub>t</sub> − x̂<sub>t</sub>|² / |x<sub>t</sub> − x̄|².</dd>
<dt>Cosine</dt><dd><span class="equation">(1/T) Σ<sub>t</sub> x<sub>t</sub>·x̂<sub>t</sub> / (|x<sub>t</sub>| |x̂<sub>t</sub>|)</span></dd>
<dt>γ, relative reconstruction bias</dt><dd><span class="equation">γ = E|x̂|² / E[x̂·x]</span> The factor by which x̂ would have to be divided to fit x best. Below 1 is shrinkage. Section 4.2 of the paper.</dd>
<dt>Density</dt><dd>Share of the counted positions on which a feature is active.</dd>
<dt>Dead</dt><dd>Active on none of a stretch of activations. In tables and histograms, the stretch is the counted positions of the evaluation. In the training curves, it is the last --dead-window activations of training; before the run has seen as many, the curve has no value. The two stretches differ, and so may the shares.</dd>
<dt>Dense</dt><dd>Active on more than a tenth of the counted positions.</dd>
<dt>Decoder cosine</dt><dd>For each feature, the largest cosine of its decoder row to another one; mean over features, and the largest of all.</dd>
<dt>Loss</dt><dd>In the training curves: the training objective (reconstruction error, sparsity penalty and, for gated SAEs, the auxiliary reconstruction error) on normalised activations. It is not comparable between architectures, nor between sparsity coefficients.</dd>
</dl>`;

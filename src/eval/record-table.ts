import { textTable } from '../progress/progress.js';
import { foreignTexts } from './foreign-text.js';
import { type EvalRecord, type Headline, hasNoBos, type Interval } from './record.js';

/** The evaluation as a table for the terminal: one row per SAE, headline numbers with 95 % intervals. */
export function recordTable(records: readonly EvalRecord[]): string {
  const meanAblation = records.some(({ loss_recovered_mean }) => typeof loss_recovered_mean === 'number');
  const columns: [string, (r: EvalRecord) => string][] = [
    ['SAE', (r) => r.sae],
    ['architecture', (r) => r.architecture],
    ['d_sae', (r) => String(r.d_sae)],
    ['L0', (r) => withInterval(r, 'l0', 1)],
    ['loss recovered', (r) => withInterval(r, 'loss_recovered', 2, '%')],
    ...(meanAblation
      ? [
          ['against mean', (r) => withInterval(r, 'loss_recovered_mean', 2, '%')] satisfies [
            string,
            (r: EvalRecord) => string,
          ],
        ]
      : []),
    ['ΔCE', (r) => withInterval(r, 'delta_ce', 4)],
    ['KL', (r) => withInterval(r, 'kl', 4)],
    ['expl. var.', (r) => withInterval(r, 'explained_variance', 4)],
    [
      'per token',
      ({ explained_variance_tokens: value = Number.NaN }) => (Number.isFinite(value) ? value.toFixed(4) : '–'),
    ],
    ['cosine', (r) => r.cosine.toFixed(4)],
    ['γ', (r) => withInterval(r, 'relative_reconstruction_bias', 3)],
    ['dead', (r) => `${(100 * r.dead_fraction).toFixed(1)} %`],
  ];
  const rows = [columns.map(([head]) => head), ...records.map((record) => columns.map(([, cell]) => cell(record)))];
  return [...textTable(rows, 2), ...notes(records)].join('\n');
}

/** A number with its interval, both to the same decimals: otherwise [0.99, 0.99] could stand next to 0.993. */
function withInterval(record: EvalRecord, name: Headline, decimals: number, unit: '' | '%' = ''): string {
  const value = record[name];
  const factor = unit === '%' ? 100 : 1;
  const number =
    typeof value === 'number' && Number.isFinite(value)
      ? `${(factor * value).toFixed(decimals)}${unit && ` ${unit}`}`
      : '–';
  const interval = record.intervals?.[name];
  return interval && Number.isFinite(interval[0] + interval[1])
    ? `${number} ${bounds(interval, factor, decimals)}`
    : number;
}

function bounds([low, high]: Interval, factor: number, decimals: number): string {
  return `[${(factor * low).toFixed(decimals)}, ${(factor * high).toFixed(decimals)}]`;
}

const METRIC_NAMES: Readonly<Record<string, string>> = {
  loss_recovered: 'loss recovered',
  loss_recovered_mean: 'loss recovered against mean ablation',
  explained_variance: 'explained variance',
  relative_reconstruction_bias: 'γ',
};

/** Why numbers are missing (dashes in the table); reasons common to a hook are given once. */
function reasons(records: readonly EvalRecord[]): string[] {
  const lines = records.flatMap(({ sae, hook, reasons = {} }) =>
    Object.entries(reasons).map(([name, reason]) => {
      const place = name === 'relative_reconstruction_bias' ? sae : hook;
      return `${place}: no ${METRIC_NAMES[name] ?? name}: ${reason}`;
    }),
  );
  return [...new Set(lines)];
}

/** What the numbers are averages of, and the losses at each hook. */
function notes(records: readonly EvalRecord[]): string[] {
  const first = records[0];
  if (!first) return [];
  const sites = new Map(records.map((record) => [record.hook, record]));
  const losses = [...sites.values()].map(({ hook, ce_clean, ce_zero, ce_mean }) => {
    const mean = typeof ce_mean === 'number' ? `, mean-ablated ${ce_mean.toFixed(4)}` : '';
    return `${hook}: CE clean ${ce_clean.toFixed(4)}, zero-ablated ${ce_zero.toFixed(4)}${mean}`;
  });
  const contexts = first.contexts === undefined ? '' : ` of ${first.contexts} contexts`;
  const bos = hasNoBos(first) ? 'contexts do not begin with BOS' : 'means exclude BOS positions';
  return [
    ...losses,
    ...foreignTexts(records).map((sentence) => `${sentence}.`),
    ...reasons(records),
    ...[...sites.values()].flatMap(heldByFew),
    ...records.flatMap(withoutSome),
    ...records.flatMap(ofRoles),
    ...records.flatMap(leftOut),
    ...records.flatMap(changed),
    `over ${first.tokens} tokens${contexts}; ${bos}; losses in nats per token; dead: never active on these tokens`,
    'intervals: 95 %, bootstrap over contexts',
  ];
}

/** Share from which a few tokens or dimensions are reported as having most of the variance. */
const MOST = 0.5;

/** Reports if pooled explained variance is dominated by a few tokens or dimensions. */
function heldByFew({ hook, variance_held: held }: EvalRecord): string[] {
  if (!held) return [];
  const { tokens, dimension, largest_dimension: largest, dimensions } = held;
  const few = [
    ...(tokens > MOST ? [`the largest 0.1 % of the tokens have ${percent(tokens)}`] : []),
    ...(largest > MOST ? [`dimension ${dimension} has ${percent(largest)}`] : []),
    ...(largest <= MOST && dimensions > MOST ? [`the largest 1 % of the dimensions have ${percent(dimensions)}`] : []),
  ];
  if (few.length === 0) return [];
  return [`${hook}: ${few.join(', ')} of the variance; they dominate explained variance`];
}

/** Share of dimensions below 0 from which it is reported. */
const SOME = 0.05;

function withoutSome({ sae, explained_variance_dimensions: found }: EvalRecord): string[] {
  if (!found || !(found.negative > SOME)) return [];
  return [`${sae}: explained variance is below 0 in ${percent(found.negative)} of the dimensions`];
}

const percent = (share: number) => `${(100 * share).toFixed(0)} %`;

/** Which roles count, unless all do. */
function ofRoles({ sae, settings }: EvalRecord): string[] {
  const roles = settings?.chat?.roles;
  return roles ? [`${sae}: only positions of ${roles.join(' and ')} count; --all-tokens includes the others`] : [];
}

/** How many positions were left out because of their norm. */
function leftOut({ sae, settings, left_out: count }: EvalRecord): string[] {
  const rule = settings?.norm_limit;
  if (!rule || count === undefined) return [];
  return [
    `${sae}: ${count} positions with a norm above ${rule.multiple} × ${rule.median.toPrecision(4)} keep their activation and do not count; --all-tokens includes them`,
  ];
}

/** The effect of changed features. */
function changed({ sae, changed_features: found, tokens }: EvalRecord): string[] {
  if (!found) return [];
  const { intervals } = found;
  const measured = (['ce', 'delta_ce', 'kl'] as const).map((name) => {
    const interval = Number.isFinite(intervals[name][0]) ? ` ${bounds(intervals[name], 1, 5)}` : '';
    return `${{ ce: 'CE', delta_ce: 'ΔCE', kl: 'KL' }[name]} ${found[name].toFixed(5)}${interval}`;
  });
  const features = found.features === 1 ? 'feature' : 'features';
  return [
    `${sae}: ${found.features} ${features} changed, with a different value on ${percent(found.tokens / tokens)} of the tokens: ${measured.join(', ')}`,
  ];
}

import { rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { givenCommand, trainingCommandSchema } from '../config/flags.js';
import { exists } from '../disk/input-file.js';
import { type EveryKey, parseJson, readTextFile } from '../disk/json.js';
import { Displaced } from '../disk/lock.js';
import { writeAside } from '../disk/output-file.js';
import { Unconfirmed } from '../disk/refused.js';
import { Refusal } from '../errors/refusal.js';
import { copiedCurve, METRICS_FILE, type MetricsRecord, RANGE, readCurve } from '../sae/training-curve.js';
import { chatSchema, documentsSchema, trainingRecordOf } from '../sae/training-record.js';
import { isEventFile } from '../tensorboard/event-log.js';

/** A number that something may measure. */
const measurable = z
  .number()
  .refine((value) => value === 0 || (Math.abs(value) < RANGE && Math.abs(value) > 1 / RANGE), 'no measured value');

/** A measured value. JSON has no NaN: what is not a number is null in the file, and NaN once it is read. */
const measured = measurable.nullable().transform((value) => value ?? Number.NaN);

/** A measured value; null where it was not asked for. */
const asked = measurable.nullable();

const count = z.number().nonnegative().max(Number.MAX_SAFE_INTEGER);

const oneMore = ({ edges, ...columns }: { edges: unknown[] } & Record<string, unknown[]>) =>
  Object.values(columns).every((values) => edges.length === values.length + 1);

const interval = z.tuple([measured, measured]);
export type Interval = z.output<typeof interval>;

/** How many features fire how often: density = share of counted positions on which a feature is active. */
const densityHistogram = z
  .object({
    /** Bin edges in log10(density), ascending, one more than counts; the last edge is 0 (active everywhere). */
    log10_edges: z.array(measurable),
    /** Features per bin; dead features are in none. */
    counts: z.array(count),
    /** Features never active. */
    dead: count,
  })
  .refine(({ log10_edges: edges, counts }) => oneMore({ edges, counts }), 'expected one edge more than counts')
  .refine(
    ({ log10_edges: edges }) => edges.every((edge, i) => i === 0 || edge > edges[i - 1]!),
    'expected ascending edges',
  );
export type DensityHistogram = z.output<typeof densityHistogram>;

/** How many features are active on how many of the counted positions. */
const l0Histogram = z
  .object({
    /** Integers at equal distances, one more than counts: bin i has edges[i] ≤ active features < edges[i + 1]. */
    edges: z.array(measurable),
    /** Counted positions per bin. */
    counts: z.array(count),
  })
  .refine(oneMore, 'expected one edge more than counts');
export type L0Histogram = z.output<typeof l0Histogram>;

/** For each decoder row its largest cosine to another row; NaN for an SAE of one feature. */
const decoderMaxCosine = z.object({
  /** Mean over features. */
  mean: measured,
  /** The largest of all. */
  largest: measured,
});
export type DecoderMaxCosine = z.output<typeof decoderMaxCosine>;

/** Explained variance of each dimension by itself, 1 − Σ (x_i − x̂_i)² / Σ (x_i − x̄_i)²; of those that vary. */
const explainedDimensions = z.object({
  /** The middle one. */
  median: measured,
  /** Share of them below 0: x̄_i would be nearer than x̂_i. */
  negative: measured,
});
export type ExplainedDimensions = z.output<typeof explainedDimensions>;

/** How much of Σ|x − x̄|², over which explained variance is pooled, a few hold. */
const varianceHeld = z.object({
  /** Share of the largest 0.1 % of the counted positions (one at least). */
  tokens: measured,
  /** The dimension that holds most, and its share. */
  dimension: count,
  largest_dimension: measured,
  /** Share of the largest 1 % of the dimensions (one at least). */
  dimensions: measured,
});
export type VarianceHeld = z.output<typeof varianceHeld>;

/** The model with features of the SAE changed, everything else of x kept, next to the model as it is. */
const changedFeatures = z.object({
  /** How many features; settings.feature_changes says which, and how. */
  features: count,
  /** Counted positions at which one of them has another value. */
  tokens: count,
  /** Cross-entropy, by how much it is above ce_clean, and mean KL(clean ‖ changed), in nats. */
  ce: measured,
  delta_ce: measured,
  kl: measured,
  /** 95 % bootstrap intervals [low, high] of the three. */
  intervals: z.object({ ce: interval, delta_ce: interval, kl: interval }),
});
export type ChangedFeatures = z.output<typeof changedFeatures>;

/** Mean losses (nats) by the position in the context; NaN where a bin has no counted position. */
const lossByPosition = z
  .object({
    /** Integers, one more than losses: bin i has edges[i] ≤ position < edges[i + 1]; a BOS is at 0. */
    edges: z.array(measurable),
    ce_clean: z.array(measured),
    ce_spliced: z.array(measured),
    ce_zero: z.array(measured),
  })
  .refine(oneMore, 'expected one edge more than values');
export type LossByPosition = z.output<typeof lossByPosition>;

/**
 * What an evaluation was made of, and how. With all of it equal, one machine measures the same again: threads, which
 * move last bits only, are left out.
 */
const evalSettings = z.object({
  /** Version of this program. */
  version: z.string(),
  /** SHA-256 of the SAE's cfg.json and sae_weights.safetensors, one after the other. */
  sae_sha256: z.string(),
  model_fingerprint: z.string(),
  corpus: z.string(),
  text_field: z.string(),
  /** Of .txt and JSON Lines; utf-8 where the key is missing. */
  encoding: z.string().optional(),
  /** Which documents were read; all where the key is missing. */
  documents: documentsSchema.optional(),
  /** How conversations were read, where it was those; positions of roles that are left out do not count. */
  chat: chatSchema.optional(),
  /** SHA-256 of the contexts that were read beforehand to see whether the text suffices: up to 20 million tokens. */
  text_sha256: z.string(),
  /** Tokens per context, BOS included. */
  context: count,
  /** Do contexts begin with BOS? They do where the key is missing. */
  prepend_bos: z.boolean().optional(),
  /** Tokens other than BOS whose positions do not count; none where the key is missing. */
  exclude_special_tokens: z.array(count).optional(),
  /** Positions whose activation at `hook` has a norm above `multiple` × `median` are left out; none where the key is missing. */
  norm_limit: z.object({ hook: z.string(), multiple: measurable, median: measurable }).optional(),
  /** Contexts per forward pass. */
  batch: count,
  mean_ablation: z.boolean(),
  /** Features that were changed in a separate run (changed_features); none where the key is missing. */
  feature_changes: z
    .array(z.object({ feature: count, set: measurable.optional(), ablate: z.literal(true).optional() }))
    .optional(),
  device: z.string(),
  /** In which the model's matrices are multiplied. */
  precision: z.string(),
});
export type EvalSettings = z.output<typeof evalSettings>;

/** Settings as a reader of the file has them. */
export function settingsAsRead(settings: EveryKey<EvalSettings>): EvalSettings {
  return evalSettings.parse(JSON.parse(JSON.stringify(settings)));
}

/**
 * One SAE in eval.json, which is an array of these: what `eval` writes and everything else reads. Equations and sources:
 * docs/reference/metrics.md.
 *
 * Every mean is over the counted positions: those that hold a token other than BOS and are followed by a token
 * other than BOS. Losses and divergences are in nats per token; squared errors are summed over d_in. A ratio without
 * a value (loss recovered where the site does not matter to the loss) is NaN here and null in the file; `reasons` says
 * why.
 *
 * Optional keys are missing in older files; `eval` writes them all (MeasuredRecord).
 */
const evalRecord = z.object({
  /** The SAE's directory as it was named on the command line. */
  sae: z.string(),
  architecture: z.string(),
  /** Where it is spliced in; of a transcoder the hook of its target. In what follows, x is the activation there. */
  hook: z.string(),
  /** The hook that a transcoder reads; null where that is `hook`. */
  hook_in: z.string().nullable().optional(),
  model: z.string(),
  d_in: count,
  d_sae: count,
  /** Number of counted positions. */
  tokens: count,
  /** Positions that keep their activation and do not count, for its norm (settings.norm_limit). */
  left_out: count.optional(),
  /** Number of contexts they are from. */
  contexts: count.optional(),
  /** Cross-entropy of the model as it is, with x replaced by x̂, and with x replaced by 0 (nats). */
  ce_clean: measured,
  ce_spliced: measured,
  ce_zero: measured,
  /** Cross-entropy with x replaced by its mean (nats); null where mean ablation was not asked for. */
  ce_mean: asked.optional(),
  /** CE(x̂) − CE(x) (nats). */
  delta_ce: measured.optional(),
  /** 1 − (CE(x̂) − CE(x)) / (CE(0) − CE(x)); NaN where CE(0) − CE(x) is too small or too uncertain to divide by. */
  loss_recovered: measured,
  /** 1 − (CE(x̂) − CE(x)) / (CE(x̄) − CE(x)); null where mean ablation was not asked for. */
  loss_recovered_mean: asked.optional(),
  /** Mean KL(clean ‖ spliced) of the next-token distributions (nats). */
  kl: measured,
  /** Mean number of active features per token. */
  l0: measured,
  l0_histogram: l0Histogram.optional(),
  /** Mean |x − x̂|². */
  mse: measured,
  /** Σ|x − x̂|² / Σ|x − x̄|², x̄ the mean over the counted positions. */
  fvu: measured.optional(),
  /** 1 − Σ|x − x̂|² / Σ|x − x̄|². */
  explained_variance: measured,
  /** Mean of 1 − |x − x̂|² / |x − x̄|². */
  explained_variance_tokens: measured.optional(),
  explained_variance_dimensions: explainedDimensions.optional(),
  variance_held: varianceHeld.optional(),
  /** Mean cosine of x and x̂. */
  cosine: measured,
  /** Mean |x̂| / |x|. */
  norm_ratio: measured.optional(),
  /** γ = E|x̂|² / E[x̂·x]; paper, section 4.2. Below 1 is shrinkage. */
  relative_reconstruction_bias: measured,
  /** Share of features active on none of the counted positions (of a training curve: on none of its dead window). */
  dead_fraction: measured,
  /** Share of features active on more than a tenth of the counted positions. */
  dense_fraction: measured.optional(),
  density_histogram: densityHistogram,
  decoder_max_cosine: decoderMaxCosine.optional(),
  loss_by_position: lossByPosition.optional(),
  /** Null where no features were changed. */
  changed_features: changedFeatures.nullable().optional(),
  /** Why a ratio has no value, by its key; a sentence without its full stop. */
  reasons: z.record(z.string(), z.string()).optional(),
  /** 95 % bootstrap intervals [low, high] over contexts (metrics.ts) of the metrics of HEADLINE, by key. */
  intervals: z.record(z.string(), interval).optional(),
  /** File next to eval.json with a copy of the SAE's metrics.jsonl, or null where the SAE came without one. */
  training_curve: z.string().nullable(),
  settings: evalSettings.optional(),
  /** The command that measured it: what a report tells to measure it again. */
  command: givenCommand.optional(),
  /** The command that made the SAE; null where none is known. */
  training: trainingCommandSchema.nullable().optional(),
  /** The SAE's cfg.json, whole. Not z.record, which takes seconds for a long list of keys. */
  cfg: z.custom<Record<string, unknown>>((cfg) => cfg !== null && typeof cfg === 'object' && !Array.isArray(cfg)),
});

/** A record as it is read. */
export type EvalRecord = z.output<typeof evalRecord>;

/** Was it measured on contexts without BOS? There, every position that is followed by a token counts. */
export function hasNoBos({ settings }: Pick<EvalRecord, 'settings'>): boolean {
  return settings?.prepend_bos === false;
}

/** A record as `eval` makes it today, with every key. */
export type MeasuredRecord = Required<EvalRecord>;

/** Keys that have an interval; loss_recovered_mean has one where it is measured. */
export const HEADLINE = [
  'ce_clean',
  'ce_spliced',
  'ce_zero',
  'delta_ce',
  'loss_recovered',
  'loss_recovered_mean',
  'kl',
  'l0',
  'mse',
  'explained_variance',
  'cosine',
  'relative_reconstruction_bias',
] as const;
export type Headline = (typeof HEADLINE)[number];

export const EVAL_FILE = 'eval.json';

/** What a stop leaves of an evaluation: its results are written all at once. */
export const NOTHING_WRITTEN =
  'the evaluation was not finished and nothing was written; the same command begins it again.';

const curveFile = (i: number) => `training-${i}.jsonl`;

/** Is this a name that an evaluation's directory holds? */
export const isEvaluationFile = (name: string) =>
  name === EVAL_FILE || /^training-\d+\.jsonl$/.test(name) || isEventFile(name);

/**
 * Writes eval.json into an empty directory, the curves of the SAEs' training next to it, where they have one. Where that
 * fails the directory is empty again.
 *
 * @param say told of a curve that is left out
 * @returns the records with the names of their curves
 */
export async function writeEvaluation(
  directory: string,
  measured: readonly Omit<MeasuredRecord, 'training_curve'>[],
  say: (line: string) => void,
): Promise<MeasuredRecord[]> {
  const written: string[] = [];
  const write = async (name: string, content: Uint8Array | string) => {
    written.push(name);
    await writeAside(join(directory, name), content);
  };
  try {
    const records: MeasuredRecord[] = [];
    for (const [i, record] of measured.entries()) {
      const curve = await curveOf(record, say);
      if (curve !== null) await write(curveFile(i), curve);
      const { cfg, settings, ...before } = record;
      records.push({ ...before, training_curve: curve === null ? null : curveFile(i), settings, cfg });
    }
    await write(EVAL_FILE, `${JSON.stringify(records, null, 1)}\n`);
    return records;
  } catch (error) {
    // Where eval.json is in place, the evaluation is whole.
    const isWhole = error instanceof Unconfirmed && basename(error.path) === EVAL_FILE;
    if (isWhole || error instanceof Displaced) throw error;
    for (const name of written) await rm(join(directory, name), { force: true }).catch(() => {});
    throw error;
  }
}

/** The curve of an SAE's training; null where it came without one, or with something else under that name. */
async function curveOf(
  { sae, cfg }: Pick<MeasuredRecord, 'sae' | 'cfg'>,
  say: (line: string) => void,
): Promise<string | null> {
  const path = join(sae, METRICS_FILE);
  if (!(await exists(path))) return null;
  try {
    return await copiedCurve(path, trainingRecordOf(cfg).steps);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    say(`${error.message} The evaluation is written without this training curve.`);
    return null;
  }
}

/** What `eval` left in a directory: a record per SAE, each with the curve of its training (empty where there is none). */
export type Evaluation = readonly EvaluatedSae[];

export interface EvaluatedSae {
  record: EvalRecord;
  curve: readonly MetricsRecord[];
}

const AGAIN = 'Run `sae-pipe eval` again to write the directory anew.';
const OTHER_DIRECTORY = 'Give the directory that `sae-pipe eval --out` wrote.';

/**
 * Reads DIR/eval.json and the training curves next to it. Unknown keys are left out.
 *
 * @throws Refusal where the directory, eval.json or a curve it names is missing or is not what eval writes
 */
export async function readEvaluation(directory: string): Promise<Evaluation> {
  const path = join(directory, EVAL_FILE);
  const text = await readTextFile(path, AGAIN);
  if (text === null) {
    const isThere = await stat(directory).then(
      (entry) => entry.isDirectory(),
      () => false,
    );
    const cause = isThere ? `${directory} has no ${EVAL_FILE}.` : `There is no directory ${directory}.`;
    throw new Refusal(cause, OTHER_DIRECTORY, 'eval/no-evaluation');
  }
  const parsed = z.array(evalRecord).safeParse(parsedOrRefused(text, path));
  if (!parsed.success) throw new Refusal(`${path}: ${firstIssue(parsed.error)}.`, AGAIN, 'eval/broken-evaluation');
  if (parsed.data.length === 0)
    throw new Refusal(`${path} holds no SAE.`, 'Evaluate at least one: `sae-pipe eval`.', 'eval/no-sae');
  const evaluation: EvaluatedSae[] = [];
  for (const record of parsed.data) evaluation.push({ record, curve: await curveNamed(directory, record) });
  return evaluation;
}

async function curveNamed(directory: string, { training_curve: name }: EvalRecord): Promise<MetricsRecord[]> {
  if (name === null) return [];
  // eval.json may come from anyone; a name in it must not reach out of the directory.
  if (name === '' || name === '.' || name === '..' || /[/\\\0]/.test(name)) {
    throw new Refusal(
      `${join(directory, EVAL_FILE)} names the training curve ${JSON.stringify(name)}, which is not a plain file name.`,
      `A training curve is a file next to ${EVAL_FILE}; put it there and name it without a folder.`,
      'eval/unsafe-curve-name',
    );
  }
  const path = join(directory, name);
  if (!(await exists(path))) {
    throw new Refusal(
      `${path}, a training curve that ${EVAL_FILE} names, does not exist.`,
      `Copy it from where eval wrote it, or set "training_curve" to null in ${EVAL_FILE} to do without.`,
      'eval/no-curve',
    );
  }
  return readCurve(path);
}

function parsedOrRefused(text: string, path: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    throw new Refusal(`${path} is not valid JSON: ${(error as Error).message}.`, AGAIN, 'eval/broken-evaluation', {
      cause: error,
    });
  }
}

/** The first thing zod found, as "place: what", with the place written as one would in a program: [2].cfg. */
function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  const place = (issue?.path ?? []).map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('');
  const what = (issue?.message ?? 'not what was expected').replace(/^Invalid input: /, '');
  return place === '' ? what : `${place.replace(/^\./, '')}: ${what}`;
}

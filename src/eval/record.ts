import { rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { givenCommand, trainingCommandSchema } from '../config/flags.js';
import { exists } from '../disk/input-file.js';
import { type EveryKey, parseJson, readTextFile } from '../disk/json.js';
import { Displaced } from '../disk/lock.js';
import { writeAside } from '../disk/output-file.js';
import { Unconfirmed } from '../disk/refused.js';
import { nearPath, withNear } from '../errors/nearest.js';
import { Refusal } from '../errors/refusal.js';
import { copiedCurve, METRICS_FILE, type MetricsRecord, RANGE, readCurve } from '../sae/training-curve.js';
import { chatSchema, documentsSchema, trainingRecordOf } from '../sae/training-record.js';
import { isEventFile } from '../tensorboard/event-log.js';

/** A plausible measured number. */
const measurable = z
  .number()
  .refine((value) => value === 0 || (Math.abs(value) < RANGE && Math.abs(value) > 1 / RANGE), 'not a plausible value');

/** A measured value. JSON has no NaN: missing values are null in the file and NaN once read. */
const measured = measurable.nullable().transform((value) => value ?? Number.NaN);

/** A measured value; null if not requested. */
const asked = measurable.nullable();

const count = z.number().nonnegative().max(Number.MAX_SAFE_INTEGER);

const oneMore = ({ edges, ...columns }: { edges: unknown[] } & Record<string, unknown[]>) =>
  Object.values(columns).every((values) => edges.length === values.length + 1);

const interval = z.tuple([measured, measured]);
export type Interval = z.output<typeof interval>;

/** Histogram of feature densities: density = share of counted positions on which a feature is active. */
const densityHistogram = z
  .object({
    /** Bin edges in log10(density), ascending, one more than counts; the last edge is 0 (active everywhere). */
    log10_edges: z.array(measurable),
    /** Features per bin; dead features are in no bin. */
    counts: z.array(count),
    /** Features that are never active. */
    dead: count,
  })
  .refine(({ log10_edges: edges, counts }) => oneMore({ edges, counts }), 'expected one more edge than counts')
  .refine(
    ({ log10_edges: edges }) => edges.every((edge, i) => i === 0 || edge > edges[i - 1]!),
    'expected ascending edges',
  );
export type DensityHistogram = z.output<typeof densityHistogram>;

/** Histogram of the number of active features per counted position. */
const l0Histogram = z
  .object({
    /** Equally spaced integers, one more than counts: bin i has edges[i] ≤ active features < edges[i + 1]. */
    edges: z.array(measurable),
    /** Counted positions per bin. */
    counts: z.array(count),
  })
  .refine(oneMore, 'expected one more edge than counts');
export type L0Histogram = z.output<typeof l0Histogram>;

/** The largest cosine of each decoder row with another row; NaN for an SAE with one feature. */
const decoderMaxCosine = z.object({
  /** Mean over features. */
  mean: measured,
  /** Maximum over features. */
  largest: measured,
});
export type DecoderMaxCosine = z.output<typeof decoderMaxCosine>;

/** Explained variance per dimension, 1 − Σ (x_i − x̂_i)² / Σ (x_i − x̄_i)², over dimensions that vary. */
const explainedDimensions = z.object({
  /** Median. */
  median: measured,
  /** Share below 0, where x̄_i would be closer than x̂_i. */
  negative: measured,
});
export type ExplainedDimensions = z.output<typeof explainedDimensions>;

/** How concentrated Σ|x − x̄|² is, over which explained variance is pooled. */
const varianceHeld = z.object({
  /** Share of the largest 0.1 % of the counted positions (at least one). */
  tokens: measured,
  /** The dimension with the largest share, and that share. */
  dimension: count,
  largest_dimension: measured,
  /** Share of the largest 1 % of the dimensions (at least one). */
  dimensions: measured,
});
export type VarianceHeld = z.output<typeof varianceHeld>;

/** The model with features of the SAE changed and the rest of x kept, compared with the unchanged model. */
const changedFeatures = z.object({
  /** Number of features; settings.feature_changes lists the changes. */
  features: count,
  /** Counted positions at which one of them has a different value. */
  tokens: count,
  /** Cross-entropy, its increase over ce_clean, and mean KL(clean ‖ changed), in nats. */
  ce: measured,
  delta_ce: measured,
  kl: measured,
  /** 95 % bootstrap intervals [low, high] of these three. */
  intervals: z.object({ ce: interval, delta_ce: interval, kl: interval }),
});
export type ChangedFeatures = z.output<typeof changedFeatures>;

/** Mean losses (nats) by position in the context; NaN if a bin has no counted position. */
const lossByPosition = z
  .object({
    /** Integers, one more than losses: bin i has edges[i] ≤ position < edges[i + 1]; BOS is at 0. */
    edges: z.array(measurable),
    ce_clean: z.array(measured),
    ce_spliced: z.array(measured),
    ce_zero: z.array(measured),
  })
  .refine(oneMore, 'expected one more edge than values');
export type LossByPosition = z.output<typeof lossByPosition>;

/**
 * Inputs and settings of an evaluation. If they are all equal, the same machine measures the same values; threads are
 * left out, since they only affect the last bits.
 */
const evalSettings = z.object({
  /** Version of sae-pipe. */
  version: z.string(),
  /** SHA-256 of the SAE's cfg.json followed by its sae_weights.safetensors. */
  sae_sha256: z.string(),
  model_fingerprint: z.string(),
  corpus: z.string(),
  text_field: z.string(),
  /** Encoding of .txt and JSON Lines; utf-8 if the key is missing. */
  encoding: z.string().optional(),
  /** Which documents were read; all if the key is missing. */
  documents: documentsSchema.optional(),
  /** How conversations were read, if they were; positions of excluded roles do not count. */
  chat: chatSchema.optional(),
  /** SHA-256 of the contexts read beforehand to check that there is enough text: up to 20 million tokens. */
  text_sha256: z.string(),
  /** Tokens per context, BOS included. */
  context: count,
  /** Do contexts begin with BOS? Yes if the key is missing. */
  prepend_bos: z.boolean().optional(),
  /** Tokens other than BOS whose positions do not count; none if the key is missing. */
  exclude_special_tokens: z.array(count).optional(),
  /**
   * Positions whose activation at `hook` has a norm above `multiple` × `median` are left out; none if the key is
   * missing.
   */
  norm_limit: z.object({ hook: z.string(), multiple: measurable, median: measurable }).optional(),
  /** Contexts per forward pass. */
  batch: count,
  mean_ablation: z.boolean(),
  /** Features changed in a separate run (changed_features); none if the key is missing. */
  feature_changes: z
    .array(z.object({ feature: count, set: measurable.optional(), ablate: z.literal(true).optional() }))
    .optional(),
  device: z.string(),
  /** Precision of the model's matrix products. */
  precision: z.string(),
});
export type EvalSettings = z.output<typeof evalSettings>;

/** Settings as read back from the file. */
export function settingsAsRead(settings: EveryKey<EvalSettings>): EvalSettings {
  return evalSettings.parse(JSON.parse(JSON.stringify(settings)));
}

/**
 * One SAE in eval.json, an array of these: written by `eval`, read by everything else. Equations and sources:
 * docs/reference/metrics.md.
 *
 * Every mean is over the counted positions: those with a token other than BOS that is followed by a token other than
 * BOS. Losses and divergences are in nats per token; squared errors are summed over d_in. A ratio without a value (such
 * as loss recovered at a hook that does not affect the loss) is NaN here and null in the file; `reasons` says why.
 *
 * Optional keys are missing in older files; `eval` writes all of them (MeasuredRecord).
 */
const evalRecord = z.object({
  /** The SAE's directory as given on the command line. */
  sae: z.string(),
  architecture: z.string(),
  /** Hook where it is spliced in; for a transcoder, that of its target. Below, x is the activation there. */
  hook: z.string(),
  /** The input hook of a transcoder; null if that is `hook`. */
  hook_in: z.string().nullable().optional(),
  model: z.string(),
  d_in: count,
  d_sae: count,
  /** Number of counted positions. */
  tokens: count,
  /** Positions that keep their activation and do not count because of its norm (settings.norm_limit). */
  left_out: count.optional(),
  /** Number of contexts they come from. */
  contexts: count.optional(),
  /** Cross-entropy of the unchanged model, with x replaced by x̂, and with x replaced by 0 (nats). */
  ce_clean: measured,
  ce_spliced: measured,
  ce_zero: measured,
  /** Entropy of the frequencies of the predicted tokens (nats): the cross-entropy of a model that only counts them. */
  unigram_entropy: measured.optional(),
  /** Cross-entropy with x replaced by its mean (nats); null if mean ablation was not requested. */
  ce_mean: asked.optional(),
  /** CE(x̂) − CE(x) (nats). */
  delta_ce: measured.optional(),
  /** 1 − (CE(x̂) − CE(x)) / (CE(0) − CE(x)); NaN if CE(0) − CE(x) is too small or too uncertain to divide by. */
  loss_recovered: measured,
  /** 1 − (CE(x̂) − CE(x)) / (CE(x̄) − CE(x)); null if mean ablation was not requested. */
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
  /** Share of features that are never active on the counted positions (in a training curve: within its dead window). */
  dead_fraction: measured,
  /** Share of features active on more than a tenth of the counted positions. */
  dense_fraction: measured.optional(),
  density_histogram: densityHistogram,
  decoder_max_cosine: decoderMaxCosine.optional(),
  loss_by_position: lossByPosition.optional(),
  /** Null if no features were changed. */
  changed_features: changedFeatures.nullable().optional(),
  /** Why a ratio has no value, by its key; a sentence without its full stop. */
  reasons: z.record(z.string(), z.string()).optional(),
  /** 95 % bootstrap intervals [low, high] over contexts (metrics.ts) of the metrics of HEADLINE, by key. */
  intervals: z.record(z.string(), interval).optional(),
  /** File next to eval.json with a copy of the SAE's metrics.jsonl; null if the SAE came without one. */
  training_curve: z.string().nullable(),
  settings: evalSettings.optional(),
  /** The command that measured it; a report shows it for repeating the evaluation. */
  command: givenCommand.optional(),
  /** The command that made the SAE; null if unknown. */
  training: trainingCommandSchema.nullable().optional(),
  /** The SAE's complete cfg.json. Not z.record, which takes seconds for a long list of keys. */
  cfg: z.custom<Record<string, unknown>>((cfg) => cfg !== null && typeof cfg === 'object' && !Array.isArray(cfg)),
});

/** A record as read. */
export type EvalRecord = z.output<typeof evalRecord>;

/** Was it measured on contexts without BOS? There, every position followed by a token counts. */
export function hasNoBos({ settings }: Pick<EvalRecord, 'settings'>): boolean {
  return settings?.prepend_bos === false;
}

/** A record as `eval` writes it today, with every key. */
export type MeasuredRecord = Required<EvalRecord>;

/** Keys with an interval; loss_recovered_mean has one if it is measured. */
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

/** Message after a stop: the results of an evaluation are written all at once. */
export const NOTHING_WRITTEN =
  'the evaluation was not finished and nothing was written; the same command starts it again.';

const curveFile = (i: number) => `training-${i}.jsonl`;

/** Is this a file name that an evaluation writes? */
export const isEvaluationFile = (name: string) =>
  name === EVAL_FILE || /^training-\d+\.jsonl$/.test(name) || isEventFile(name);

/**
 * Writes eval.json into an empty directory, along with the training curves of the SAEs that have one. If that fails,
 * the directory is empty again.
 *
 * @param say told about a curve that is left out
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
    // Once eval.json is in place, the evaluation is complete.
    const isWhole = error instanceof Unconfirmed && basename(error.path) === EVAL_FILE;
    if (isWhole || error instanceof Displaced) throw error;
    for (const name of written) await rm(join(directory, name), { force: true }).catch(() => {});
    throw error;
  }
}

/** The training curve of an SAE; null if it came without one, or something else has its name. */
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

/**
 * The contents of an evaluation's directory: one record per SAE, each with its training curve (empty if there is none).
 */
export type Evaluation = readonly EvaluatedSae[];

export interface EvaluatedSae {
  record: EvalRecord;
  curve: readonly MetricsRecord[];
}

const RERUN = 'Run `sae-pipe eval` again to rewrite the directory.';
const OTHER_DIRECTORY = 'Give the directory that `sae-pipe eval --out` wrote.';

/**
 * Reads DIR/eval.json and the training curves next to it. Unknown keys are ignored.
 *
 * @throws Refusal if the directory, eval.json or a curve it names is missing or invalid
 */
export async function readEvaluation(directory: string): Promise<Evaluation> {
  const path = join(directory, EVAL_FILE);
  const text = await readTextFile(path, RERUN);
  if (text === null) {
    const isThere = await stat(directory).then(
      (entry) => entry.isDirectory(),
      () => false,
    );
    const cause = isThere ? `${directory} has no ${EVAL_FILE}.` : `The directory ${directory} does not exist.`;
    throw new Refusal(
      cause,
      withNear(isThere ? undefined : await nearPath(directory), OTHER_DIRECTORY),
      'eval/no-evaluation',
    );
  }
  const parsed = z.array(evalRecord).safeParse(parsedOrRefused(text, path));
  if (!parsed.success) throw new Refusal(`${path}: ${firstIssue(parsed.error)}.`, RERUN, 'eval/broken-evaluation');
  if (parsed.data.length === 0)
    throw new Refusal(`${path} contains no SAE.`, 'Evaluate at least one: `sae-pipe eval`.', 'eval/no-sae');
  const evaluation: EvaluatedSae[] = [];
  for (const record of parsed.data) evaluation.push({ record, curve: await curveNamed(directory, record) });
  return evaluation;
}

async function curveNamed(directory: string, { training_curve: name }: EvalRecord): Promise<MetricsRecord[]> {
  if (name === null) return [];
  // eval.json may come from anyone; names in it must not point outside the directory.
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
      `Copy it from where eval wrote it, or set "training_curve" to null in ${EVAL_FILE} to omit it.`,
      'eval/no-curve',
    );
  }
  return readCurve(path);
}

function parsedOrRefused(text: string, path: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    throw new Refusal(`${path} is not valid JSON: ${(error as Error).message}.`, RERUN, 'eval/broken-evaluation', {
      cause: error,
    });
  }
}

/** The first issue zod found, as "path: what", with the path in program notation: [2].cfg. */
function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  const place = (issue?.path ?? []).map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('');
  const what = (issue?.message ?? 'not what was expected').replace(/^Invalid input: /, '');
  return place === '' ? what : `${place.replace(/^\./, '')}: ${what}`;
}

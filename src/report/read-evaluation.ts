import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { exists } from '../disk/input-file.js';
import { parseJson as parsed, readTextFile } from '../disk/json.js';
import { Refusal } from '../errors/refusal.js';
import type { EvalRecord } from '../eval/record.js';
import { type MetricsRecord, readCurve } from '../sae/training-curve.js';

/** What `eval` left in a directory: a record an SAE, each with the curve of its training (empty where there is none). */
export type Evaluation = readonly EvaluatedSae[];

export interface EvaluatedSae {
  record: EvalRecord;
  curve: readonly MetricsRecord[];
}

const AGAIN = 'Run `sae-pipe eval` again to write the directory anew.';

/** Nothing that is measured is larger, or as small and not 0; axes over the whole range of doubles overflow. */
const RANGE = 1e100;

const measurable = z
  .number()
  .refine((value) => value === 0 || (Math.abs(value) < RANGE && Math.abs(value) > 1 / RANGE), 'no measured value');

/** A measured value. JSON has no NaN: what was not a number was written as null, and is NaN again here. */
const measured = measurable.nullable().transform((value) => value ?? Number.NaN);

const count = z.number().nonnegative().max(Number.MAX_SAFE_INTEGER);

const densityHistogram = z
  .object({ log10_edges: z.array(measurable), counts: z.array(count), dead: count })
  .refine(({ log10_edges, counts }) => log10_edges.length === counts.length + 1, 'expected one edge more than counts')
  .refine(
    ({ log10_edges: edges }) => edges.every((edge, i) => i === 0 || edge > edges[i - 1]!),
    'expected ascending edges',
  );

/** A measured value, or null where it was not asked for. */
const asked = measurable.nullable();

const interval = z.tuple([measured, measured]);

const l0Histogram = z
  .object({ edges: z.array(measurable), counts: z.array(count) })
  .refine(({ edges, counts }) => edges.length === counts.length + 1, 'expected one edge more than counts');

const lossByPosition = z
  .object({
    edges: z.array(measurable),
    ce_clean: z.array(measured),
    ce_spliced: z.array(measured),
    ce_zero: z.array(measured),
  })
  .refine(
    ({ edges, ...losses }) => Object.values(losses).every((values) => edges.length === values.length + 1),
    'expected one edge more than values',
  );

const settings = z.object({
  version: z.string(),
  sae_sha256: z.string(),
  model_fingerprint: z.string(),
  corpus: z.string(),
  text_field: z.string(),
  encoding: z.string().optional(),
  text_sha256: z.string(),
  context: count,
  batch: count,
  mean_ablation: z.boolean(),
  device: z.string(),
  precision: z.string(),
});

const evalRecord = z.object({
  sae: z.string(),
  architecture: z.string(),
  hook: z.string(),
  model: z.string(),
  d_in: count,
  d_sae: count,
  tokens: count,
  contexts: count.optional(),
  ce_clean: measured,
  ce_spliced: measured,
  ce_zero: measured,
  ce_mean: asked.optional(),
  delta_ce: measured.optional(),
  loss_recovered: measured,
  loss_recovered_mean: asked.optional(),
  kl: measured,
  l0: measured,
  mse: measured,
  fvu: measured.optional(),
  explained_variance: measured,
  explained_variance_tokens: measured.optional(),
  cosine: measured,
  norm_ratio: measured.optional(),
  relative_reconstruction_bias: measured,
  dead_fraction: measured,
  dense_fraction: measured.optional(),
  density_histogram: densityHistogram,
  l0_histogram: l0Histogram.optional(),
  decoder_max_cosine: z.object({ mean: measured, largest: measured }).optional(),
  loss_by_position: lossByPosition.optional(),
  reasons: z.record(z.string(), z.string()).optional(),
  intervals: z.record(z.string(), interval).optional(),
  training_curve: z.string().nullable(),
  settings: settings.optional(),
  command: z.object({ directory: z.string(), words: z.array(z.string()) }).optional(),
  training: z
    .object({ stage: z.enum(['train', 'sweep']), directory: z.string(), words: z.array(z.string()) })
    .nullable()
    .optional(),
  // Not z.record, which takes seconds for a long list of keys.
  cfg: z.custom<Record<string, unknown>>((cfg) => cfg !== null && typeof cfg === 'object' && !Array.isArray(cfg)),
}) satisfies z.ZodType<EvalRecord>;

/** The first thing zod found, as "place: what", with the place written as one would in a program: [2].cfg. */
function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  const place = (issue?.path ?? []).map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('');
  const what = (issue?.message ?? 'not what was expected').replace(/^Invalid input: /, '');
  return place === '' ? what : `${place.replace(/^\./, '')}: ${what}`;
}

function parseJson(text: string, place: string): unknown {
  try {
    return parsed(text);
  } catch (error) {
    throw new Refusal(`${place} is not valid JSON: ${(error as Error).message}.`, AGAIN, 'report/broken-evaluation', {
      cause: error,
    });
  }
}

async function curveOf(directory: string, name: string): Promise<MetricsRecord[]> {
  // eval.json may come from anyone; a name in it must not reach out of the directory.
  if (name === '' || name === '.' || name === '..' || /[/\\\0]/.test(name)) {
    throw new Refusal(
      `${join(directory, 'eval.json')} names the training curve ${JSON.stringify(name)}, which is not a plain file name.`,
      'A training curve is a file beside eval.json; put it there and name it without a folder.',
      'report/unsafe-curve-name',
    );
  }
  const path = join(directory, name);
  if (!(await exists(path))) {
    throw new Refusal(
      `${path}, a training curve that eval.json names, does not exist.`,
      'Copy it from where eval wrote it, or set "training_curve" to null in eval.json to do without.',
      'report/no-curve',
    );
  }
  return readCurve(path);
}

/**
 * Reads DIR/eval.json and the training curves beside it. Keys that are not known are passed over.
 *
 * @throws Refusal where the directory, eval.json or a curve it names is missing or is not what eval writes
 */
export async function readEvaluation(directory: string): Promise<Evaluation> {
  const path = join(directory, 'eval.json');
  const text = await readTextFile(path, AGAIN);
  if (text === null) {
    const isThere = await stat(directory).then(
      (entry) => entry.isDirectory(),
      () => false,
    );
    if (!isThere)
      throw new Refusal(
        `There is no directory ${directory}.`,
        'Give the directory that `sae-pipe eval --out` wrote.',
        'report/no-evaluation',
      );
    throw new Refusal(
      `${directory} has no eval.json.`,
      'Give the directory that `sae-pipe eval --out` wrote.',
      'report/no-evaluation',
    );
  }
  const parsed = z.array(evalRecord).safeParse(parseJson(text, path));
  if (!parsed.success) throw new Refusal(`${path}: ${firstIssue(parsed.error)}.`, AGAIN, 'report/broken-evaluation');
  if (parsed.data.length === 0)
    throw new Refusal(`${path} holds no SAE.`, 'Evaluate at least one: `sae-pipe eval`.', 'report/no-sae');
  const evaluation: EvaluatedSae[] = [];
  for (const record of parsed.data) {
    const { training_curve: name } = record;
    evaluation.push({ record, curve: name === null ? [] : await curveOf(directory, name) });
  }
  return evaluation;
}

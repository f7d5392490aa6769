import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import type { GivenCommand, TrainingCommand } from '../config/flags.js';
import type { Context } from '../corpus/contexts.js';
import { exists } from '../disk/input-file.js';
import { Displaced } from '../disk/lock.js';
import { writeAside } from '../disk/output-file.js';
import { Unconfirmed } from '../disk/refused.js';
import { Interrupted, Refusal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { copiedCurve, METRICS_FILE } from '../sae/training-curve.js';

/**
 * What `eval` writes: eval.json is an array of these, one an SAE. Equations and sources: docs/metrics.md.
 *
 * Every mean is over the counted positions: those that hold a token other than BOS and are followed by a token
 * other than BOS. Losses and divergences are in nats per token; squared errors are summed over d_in. A ratio without
 * a value (loss recovered where the site does not matter to the loss) is NaN here and null in the file; `reasons` says
 * why.
 *
 * Optional keys are those that files of 0.1.0 lack; `eval` writes them all (MeasuredRecord).
 */
export interface EvalRecord {
  /** The SAE's directory as it was named on the command line. */
  sae: string;
  architecture: string;
  hook: string;
  model: string;
  d_in: number;
  d_sae: number;
  /** Number of counted positions. */
  tokens: number;
  /** Number of contexts they are from. */
  contexts?: number;
  /** Cross-entropy of the model as it is, with x replaced by x̂, and with x replaced by 0 (nats). */
  ce_clean: number;
  ce_spliced: number;
  ce_zero: number;
  /** Cross-entropy with x replaced by its mean (nats); null where mean ablation was not asked for. */
  ce_mean?: number | null;
  /** CE(x̂) − CE(x) (nats). */
  delta_ce?: number;
  /** 1 − (CE(x̂) − CE(x)) / (CE(0) − CE(x)); NaN where CE(0) − CE(x) is too small or too uncertain to divide by. */
  loss_recovered: number;
  /** 1 − (CE(x̂) − CE(x)) / (CE(x̄) − CE(x)); null where mean ablation was not asked for. */
  loss_recovered_mean?: number | null;
  /** Mean KL(clean ‖ spliced) of the next-token distributions (nats). */
  kl: number;
  /** Mean number of active features a token. */
  l0: number;
  l0_histogram?: L0Histogram;
  /** Mean |x − x̂|². */
  mse: number;
  /** Σ|x − x̂|² / Σ|x − x̄|², x̄ the mean over the counted positions. */
  fvu?: number;
  /** 1 − Σ|x − x̂|² / Σ|x − x̄|². */
  explained_variance: number;
  /** Mean of 1 − |x − x̂|² / |x − x̄|². */
  explained_variance_tokens?: number;
  /** Mean cosine of x and x̂. */
  cosine: number;
  /** Mean |x̂| / |x|. */
  norm_ratio?: number;
  /** γ = E|x̂|² / E[x̂·x]; paper, section 4.2. Below 1 is shrinkage. */
  relative_reconstruction_bias: number;
  /** Share of features active on none of the counted positions (of a training curve: on none of its dead window). */
  dead_fraction: number;
  /** Share of features active on more than a tenth of the counted positions. */
  dense_fraction?: number;
  density_histogram: DensityHistogram;
  decoder_max_cosine?: DecoderMaxCosine;
  loss_by_position?: LossByPosition;
  /** Why a ratio has no value, by its key; a sentence without its full stop. */
  reasons?: Record<string, string>;
  /** 95 % bootstrap intervals [low, high] over contexts (metrics.ts) of the metrics of HEADLINE, by key. */
  intervals?: Record<string, Interval>;
  /** File beside eval.json with a copy of the SAE's metrics.jsonl, or null where the SAE came without one. */
  training_curve: string | null;
  settings?: EvalSettings;
  /** The command that measured it: what a report tells to measure it again. */
  command?: GivenCommand;
  /** The command that made the SAE; null where none is known. */
  training?: TrainingCommand | null;
  /** The SAE's cfg.json, whole. */
  cfg: Record<string, unknown>;
}

/** A record as `eval` writes it today. */
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

export type Interval = [low: number, high: number];

/** How many features fire how often: density = share of counted positions on which a feature is active. */
export interface DensityHistogram {
  /** Bin edges in log10(density), ascending, one more than counts; the last edge is 0 (active everywhere). */
  log10_edges: number[];
  /** Features a bin; dead features are in none. */
  counts: number[];
  /** Features never active. */
  dead: number;
}

/** How many features are active on how many of the counted positions. */
export interface L0Histogram {
  /** Integers at equal distances, one more than counts: bin i has edges[i] ≤ active features < edges[i + 1]. */
  edges: number[];
  /** Counted positions a bin. */
  counts: number[];
}

/** For each decoder row its largest cosine to another row; NaN for an SAE of one feature. */
export interface DecoderMaxCosine {
  /** Mean over features. */
  mean: number;
  /** The largest of all. */
  largest: number;
}

/** Mean losses (nats) by the position in the context; NaN where a bin has no counted position. */
export interface LossByPosition {
  /** Integers, one more than losses: bin i has edges[i] ≤ position < edges[i + 1]; BOS is at 0. */
  edges: number[];
  ce_clean: number[];
  ce_spliced: number[];
  ce_zero: number[];
}

/**
 * What an evaluation was made of, and how. With all of it equal, one machine measures the same again: threads, which
 * move last bits only, are left out.
 */
export interface EvalSettings {
  /** Version of this program. */
  version: string;
  /** SHA-256 of the SAE's cfg.json and sae_weights.safetensors, one after the other. */
  sae_sha256: string;
  model_fingerprint: string;
  corpus: string;
  text_field: string;
  /** Of .txt and JSON Lines; utf-8 where it is not said. */
  encoding?: string;
  /** SHA-256 of the contexts that were read beforehand to see whether the text suffices: up to 20 million tokens. */
  text_sha256: string;
  /** Tokens a context, BOS included. */
  context: number;
  /** Other tokens than BOS whose positions do not count; none where it is not said. */
  exclude_special_tokens?: readonly number[];
  /** Contexts a forward pass. */
  batch: number;
  mean_ablation: boolean;
  device: string;
  /** In which the model's matrices are multiplied. */
  precision: string;
}

/** Passes contexts on and hashes the tokens of those that are taken. */
export class HashedContexts {
  private readonly hash = createHash('sha256');

  async *pass(contexts: AsyncIterable<Context>): AsyncGenerator<Context> {
    for await (const context of contexts) {
      this.hash.update(Int32Array.from(context.tokens));
      yield context;
    }
  }

  digest(): string {
    return this.hash.digest('hex');
  }
}

export const EVAL_FILE = 'eval.json';
const curveFile = (i: number) => `training-${i}.jsonl`;

/** Is this a name that an evaluation's directory holds? */
export const isEvaluationFile = (name: string) => name === EVAL_FILE || /^training-\d+\.jsonl$/.test(name);

/**
 * Writes eval.json into an empty directory, the curves of the SAEs' training beside it, where they have one. Where that
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

/** Of a cfg.json, how long its SAE was trained. */
const trainedSchema = z.object({ metadata: z.object({ sae_pipe: z.object({ steps: z.number() }) }) });

/** The curve of an SAE's training; null where it came without one, or with something else under that name. */
async function curveOf(
  { sae, cfg }: Pick<MeasuredRecord, 'sae' | 'cfg'>,
  say: (line: string) => void,
): Promise<string | null> {
  const path = join(sae, METRICS_FILE);
  if (!(await exists(path))) return null;
  const trained = trainedSchema.safeParse(cfg);
  try {
    return await copiedCurve(path, trained.data?.metadata.sae_pipe.steps);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    say(`${error.message} The evaluation is written without this training curve.`);
    return null;
  }
}

/** What an evaluation ends with on Ctrl-C: it writes all of its results at once. */
export function interrupted(signal: NonNullable<StopRequest['signal']>): Interrupted {
  return new Interrupted(
    signal,
    'the evaluation was not finished and nothing was written; the same command begins it again.',
  );
}

import { z } from 'zod';
import type { EveryKey } from '../disk/json.js';
import { metricsLine } from './training-curve.js';

/** Undefined if the key is missing or invalid: the file may be a stranger's. */
const known = <T extends z.ZodType>(schema: T) => schema.optional().catch(undefined);

/** The last line of a training curve, without its speed. */
const finalFigures = metricsLine.omit({ tokens_per_second: true });

/** Which documents of a corpus were read; all if its key is missing. */
export const documentsSchema = z.object({
  /** Documents skipped at the beginning. */
  skip: z.int().positive().optional(),
  /** Max documents read from there. */
  most: z.int().positive().optional(),
  /** Share of documents held out, as text ("1%"). */
  holdout: z.string().max(32).optional(),
  /** Were the held-out documents read? Otherwise the others were. */
  held_out: z.literal(true).optional(),
  /** Size of the shuffle buffer in documents, if shuffled. */
  shuffle: z.int().positive().optional(),
  /** The corpora and their weights, if there were several; the settings above apply to each separately. */
  mixture: z
    .object({
      sources: z.array(z.object({ corpus: z.string(), weight: z.number().positive() })),
      /** Did the text end with the first exhausted corpus? */
      stop: z.literal('first').optional(),
    })
    .optional(),
});

/** How conversations were rendered as text, if they were. */
export const chatSchema = z.object({
  /** Key or column of the messages. */
  field: z.string(),
  /** Roles whose tokens have rows; all if absent. */
  roles: z.array(z.string()).optional(),
  /** How roles were identified: by what the template marks as generated, or by rendering prefixes of a conversation. */
  spans: z.enum(['generation', 'prefixes']).optional(),
  /** SHA-256 of the chat template and its token names. */
  template_sha256: z.string(),
});

/** What a harvest read from each corpus (corpus/read-tally.ts). */
export const corporaReadSchema = z.array(
  z.object({
    corpus: z.string(),
    /** Documents with at least one token in it. */
    documents: z.int().nonnegative(),
    /** Excluding prepended BOS. */
    tokens: z.int().nonnegative(),
    /** Documents equal to an earlier one, in any corpus. */
    duplicates: z.int().nonnegative(),
    /** Documents included only in part. */
    truncated: z.int().nonnegative(),
  }),
);

/**
 * For activations that can be read only once: the text they were made from, up to row `rows`. For a corpus that was
 * read repeatedly, `corpora` adds up all passes.
 */
export const textRead = z.object({
  rows: z.int().nonnegative(),
  sha256: z.string(),
  corpora: corporaReadSchema.optional(),
});

/** The results in the record. */
const results = {
  /** Activations seen. */
  tokens: known(z.number()),
  /** Factor on the activations during training. */
  activation_scale: known(z.number()),
  /** Factor on a target that is not the input. */
  target_scale: known(z.number()),
  /**
   * λ relative to sums of squared errors of scaled activations, whatever the convention of l1; null without a penalty.
   * If adjusted, its final value, and null before.
   */
  lambda: known(z.number().nullable()),
  /** Rows left out of batches because of their norm (--max-activation-norm-multiple). */
  left_out: known(z.number()),
  /** With --init-subspace: number of initial directions of features; a side is absent if all were used. */
  subspace: known(z.object({ input: z.number().optional(), target: z.number().optional() })),
  text: known(textRead),
  /** Empty while the run is unfinished. */
  final: known(z.union([finalFigures, z.strictObject({}).transform((): undefined => undefined)])),
};

/**
 * How an SAE was trained: `metadata.sae_pipe` in its cfg.json, `sae_pipe` in run.json, and, without results, the
 * settings in a checkpoint. Contains every flag of `train` that determines the result (config/run-file.ts); keys used
 * by name are declared here, all others are kept as they are.
 */
export const trainingRecord = z.looseObject({
  arch: known(z.string()),
  ablate: known(z.array(z.string())),
  /** Null if all parameters are trained. */
  train: known(z.array(z.string()).nullable()),
  d_sae: known(z.number()),
  l1: known(z.number().nullable()),
  /** Target for adjusting λ, or of a loss. */
  l0: known(z.number()),
  steps: known(z.number()),
  lr_decay: known(z.string()),
  start: known(z.string()),
  init: known(z.string().nullable()),
  /** Hash of the --init SAE: a different one at the same path is a different start. */
  init_sha256: known(z.string()),
  activations: known(
    z.looseObject({
      /** The model's fingerprint. */
      model: z.string(),
      hook: z.string(),
      /** For a target that is not the input. */
      hook_out: z.string().optional(),
      rows: z.number(),
      corpus: z.string(),
      documents: known(documentsSchema),
      read: known(corporaReadSchema),
      chat: known(chatSchema),
      dtype: z.string(),
      /** Properties of the store, or settings that determine the activations. */
      sha256: z.string(),
    }),
  ),
  /** Commands that trained it further: from which step, and the previous total of steps. */
  trained_further: known(z.array(z.object({ from: z.number(), of: z.number() }))),
  ...results,
});
export type TrainingRecord = Readonly<z.output<typeof trainingRecord>>;
/** A record as written; results come last. */
export type WrittenRecord = Readonly<z.input<typeof trainingRecord>>;
export type WrittenResults = Readonly<EveryKey<z.input<z.ZodObject<typeof results>>>>;

/** The information in run.json, and in cfg.json under `metadata`, for displaying a run. */
export const runMetadata = z.object({
  model_name: known(z.string().nullable()),
  hook_name: known(z.string().nullable()),
  sae_pipe: known(trainingRecord),
});

/** The record of an SAE trained here; empty if its cfg.json has none. */
export function trainingRecordOf(cfg: Readonly<Record<string, unknown>>): TrainingRecord {
  return runMetadata.safeParse(cfg.metadata).data?.sae_pipe ?? {};
}

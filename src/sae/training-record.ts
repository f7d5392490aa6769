import { z } from 'zod';
import type { EveryKey } from '../disk/json.js';
import { metricsLine } from './training-curve.js';

/** Undefined where the key is missing or holds something else: the file may be a stranger's. */
const known = <T extends z.ZodType>(schema: T) => schema.optional().catch(undefined);

/** The last line of a training curve, without its speed. */
const finalFigures = metricsLine.omit({ tokens_per_second: true });

/** Which documents of a corpus were read; every one where the key that holds it is missing. */
export const documentsSchema = z.object({
  /** Documents at the beginning that were passed over. */
  skip: z.int().positive().optional(),
  /** Documents that were taken from there, at most. */
  most: z.int().positive().optional(),
  /** Share of documents, in words ("1%"), that is held out. */
  holdout: z.string().max(32).optional(),
  /** Were those that are held out the ones that were read? Else the others were. */
  held_out: z.literal(true).optional(),
  /** Documents of the buffer that they were drawn from, where they were shuffled. */
  shuffle: z.int().positive().optional(),
  /** The corpora, where there were several, each with its weight; what is above counts in each by itself. */
  mixture: z
    .object({
      sources: z.array(z.object({ corpus: z.string(), weight: z.number().positive() })),
      /** Did the text end with the first corpus that ended? */
      stop: z.literal('first').optional(),
    })
    .optional(),
});

/** How conversations were read as text, where they were. */
export const chatSchema = z.object({
  /** Key or column of the messages. */
  field: z.string(),
  /** Whose tokens have rows; everybody's where it is not said. */
  roles: z.array(z.string()).optional(),
  /** How these were told apart: by what the template marks as generated, or by renderings of a conversation's beginnings. */
  spans: z.enum(['generation', 'prefixes']).optional(),
  /** Of the chat template, and of the names that it has for tokens. */
  template_sha256: z.string(),
});

/** What a harvest read of each corpus (corpus/read-tally.ts). */
export const corporaReadSchema = z.array(
  z.object({
    corpus: z.string(),
    /** Documents that have a token in it. */
    documents: z.int().nonnegative(),
    /** BOS that was put in front not counted. */
    tokens: z.int().nonnegative(),
    /** Documents that are the same as an earlier one, whatever corpus that is of. */
    duplicates: z.int().nonnegative(),
    /** Documents of which it has a beginning only. */
    truncated: z.int().nonnegative(),
  }),
);

/**
 * Of activations that pass once, the text that they were made of: what was read by the time that `rows` had come. Of a
 * corpus that was read again, `corpora` adds up its readings.
 */
export const textRead = z.object({
  rows: z.int().nonnegative(),
  sha256: z.string(),
  corpora: corporaReadSchema.optional(),
});

/** Of the record: what came out of the run. */
const results = {
  /** Activations seen. */
  tokens: known(z.number()),
  /** Factor on the activations while training. */
  activation_scale: known(z.number()),
  /** Factor on a target that is not the input. */
  target_scale: known(z.number()),
  /** λ next to sums of squared errors of scaled activations, whatever convention l1 is in; null without a penalty. Where it is adjusted, what it was in the end, and null before. */
  lambda: known(z.number().nullable()),
  /** Rows that were left out of batches for their norm, of --max-activation-norm-multiple. */
  left_out: known(z.number()),
  /** Of --init-subspace: directions in which features began; all where a side has none. */
  subspace: known(z.object({ input: z.number().optional(), target: z.number().optional() })),
  text: known(textRead),
  /** Empty while the run is under way. */
  final: known(z.union([finalFigures, z.strictObject({}).transform((): undefined => undefined)])),
};

/**
 * How an SAE was trained: `metadata.sae_pipe` of its cfg.json, `sae_pipe` of run.json, and without results the settings
 * of a checkpoint. Every flag of `train` that decides the result is in it (config/run-file.ts); named here is what is
 * read by its name, everything else stays as it is.
 */
export const trainingRecord = z.looseObject({
  arch: known(z.string()),
  ablate: known(z.array(z.string())),
  /** Null where all parameters are trained. */
  train: known(z.array(z.string()).nullable()),
  d_sae: known(z.number()),
  l1: known(z.number().nullable()),
  /** That λ is adjusted to, or a loss aims at. */
  l0: known(z.number()),
  steps: known(z.number()),
  lr_decay: known(z.string()),
  start: known(z.string()),
  init: known(z.string().nullable()),
  /** Of the SAE of --init: another one at the same place is another start. */
  init_sha256: known(z.string()),
  activations: known(
    z.looseObject({
      /** Its fingerprint. */
      model: z.string(),
      hook: z.string(),
      /** Of a target that is not the input. */
      hook_out: z.string().optional(),
      rows: z.number(),
      corpus: z.string(),
      documents: known(documentsSchema),
      read: known(corporaReadSchema),
      chat: known(chatSchema),
      dtype: z.string(),
      /** Of what is in the store, or decides what comes. */
      sha256: z.string(),
    }),
  ),
  /** Commands that trained it further: from which step, and how many steps the run was to have before. */
  trained_further: known(z.array(z.object({ from: z.number(), of: z.number() }))),
  ...results,
});
export type TrainingRecord = Readonly<z.output<typeof trainingRecord>>;
/** A record as it is written; results come last. */
export type WrittenRecord = Readonly<z.input<typeof trainingRecord>>;
export type WrittenResults = Readonly<EveryKey<z.input<z.ZodObject<typeof results>>>>;

/** What run.json, and cfg.json under `metadata`, tell anyone who shows a run. */
export const runMetadata = z.object({
  model_name: known(z.string().nullable()),
  hook_name: known(z.string().nullable()),
  sae_pipe: known(trainingRecord),
});

/** The record of an SAE that was trained here; empty where its cfg.json has none. */
export function trainingRecordOf(cfg: Readonly<Record<string, unknown>>): TrainingRecord {
  return runMetadata.safeParse(cfg.metadata).data?.sae_pipe ?? {};
}

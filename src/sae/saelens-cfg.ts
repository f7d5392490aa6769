import { z } from 'zod';
import { Refusal } from '../config/refusal.js';
import { checkJson } from '../disk/json-file.js';
import { type Architecture, architectures, type ForwardSettings } from './sae.js';

/** What cfg.json tells beside the shapes; `sae_pipe` is our training record. */
export interface SaeMetadata {
  readonly model_name?: string;
  readonly model_fingerprint?: string;
  readonly hook_name?: string;
  readonly context_size?: number;
  readonly prepend_bos?: boolean;
  /** Whether, or which, special tokens other than BOS it was not trained on. */
  readonly exclude_special_tokens?: boolean | readonly number[];
  readonly [key: string]: unknown;
}

/** What a cfg.json says. */
export interface SaeCfg {
  readonly architecture: Architecture;
  readonly dIn: number;
  readonly dSae: number;
  readonly forward: ForwardSettings;
  readonly metadata: SaeMetadata;
}

const AGAIN = 'Use the cfg.json that came with the weights, or train the SAE again.';

const NORMALIZATIONS = ['none', 'constant_norm_rescale', 'layer_norm'] as const;

/** SAELens writes null where it has nothing to say. */
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);

const cfgSchema = z.looseObject({
  architecture: z.string(),
  d_in: z.number().int().positive(),
  d_sae: z.number().int().positive(),
  apply_b_dec_to_input: z.boolean().default(true),
  normalize_activations: z.string().default('none'),
  reshape_activations: z.string().default('none'),
  k: optional(z.number().int().positive()),
  rescale_acts_by_decoder_norm: z.boolean().default(false),
  metadata: z
    .looseObject({
      model_name: optional(z.string()),
      model_fingerprint: optional(z.string()),
      hook_name: optional(z.string()),
      context_size: optional(z.number().int().min(2)),
      prepend_bos: optional(z.boolean()),
      exclude_special_tokens: optional(z.union([z.boolean(), z.array(z.number().int().nonnegative())])),
    })
    .prefault({}),
});

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null;

/**
 * Reads the content of a cfg.json of SAELens 6, or of an older one as SAELens 6 does.
 *
 * @param path the file, for messages
 * @throws Refusal naming what is broken, or what we do not compute
 */
export function readCfg(json: unknown, path: string): SaeCfg {
  const cfg = checkJson(cfgSchema, isObject(json) ? modernised(json, path) : json, path, AGAIN);
  const { apply_b_dec_to_input, k, d_in, d_sae } = cfg;
  const among = <T extends string>(key: keyof typeof cfg & string, choices: readonly T[]): T => {
    if (choices.includes(cfg[key] as T)) return cfg[key] as T;
    throw new Refusal(
      `${path}: ${key} is ${JSON.stringify(cfg[key])}; supported are ${choices.join(', ')}.`,
      REMEDY[key] ?? 'Save the SAE with one of these.',
    );
  };
  const architecture = among('architecture', architectures);
  // Activations at hook_z are flat here, as SAELens makes them of its heads.
  among('reshape_activations', ['none', 'hook_z']);
  const plain = { apply_b_dec_to_input, normalize_activations: among('normalize_activations', NORMALIZATIONS) };
  const rest = { dIn: d_in, dSae: d_sae, metadata: cfg.metadata as SaeMetadata };
  if (architecture !== 'topk') return { architecture, forward: plain, ...rest };
  if (k === undefined || k > d_sae) {
    throw new Refusal(
      `${path}: k is ${k ?? 'missing'}, where a topk SAE of ${d_sae} features needs 1 to ${d_sae}.`,
      AGAIN,
    );
  }
  const { rescale_acts_by_decoder_norm } = cfg;
  return { architecture, forward: { ...plain, k, rescale_acts_by_decoder_norm }, ...rest };
}

const REMEDY: Record<string, string> = {
  normalize_activations: 'Fold the normalisation into the weights with SAELens, and save the SAE again.',
};

/** Keys that stood beside the shapes before SAELens 6, and stand in its metadata since. */
const MOVED = ['model_name', 'hook_name', 'context_size', 'prepend_bos'] as const;

/** A cfg.json written before SAELens 6 in the keys of SAELens 6 (its `handle_pre_6_0_config`). */
function modernised(cfg: Json, path: string): Json {
  const metadata = isObject(cfg.metadata) ? cfg.metadata : {};
  const version = cfg.sae_lens_version ?? metadata.sae_lens_version;
  if (typeof version === 'string' && Number.parseInt(version, 10) >= 6) return cfg;
  const old: Json = { ...cfg, hook_name: cfg.hook_name ?? cfg.hook_point };
  const activation = cfg.activation_fn ?? cfg.activation_fn_str ?? 'relu';
  const isTopK = activation === 'topk' || cfg.architecture === 'topk';
  if (activation !== 'relu' && activation !== 'topk') {
    throw new Refusal(
      `${path}: activation_fn is ${JSON.stringify(activation)}; supported are relu, topk.`,
      'Use an SAE with one of them.',
    );
  }
  const moved = Object.fromEntries(MOVED.filter((key) => old[key] !== undefined).map((key) => [key, old[key]]));
  const k = isObject(cfg.activation_fn_kwargs) ? cfg.activation_fn_kwargs.k : cfg.k;
  const { normalize_activations: norm } = cfg;
  return {
    ...cfg,
    architecture: isTopK ? 'topk' : (cfg.architecture ?? 'standard'),
    ...(isTopK ? { k } : {}),
    // It was a boolean: false, or the factor that makes the mean norm √d_in.
    normalize_activations: norm === true ? 'expected_average_only_in' : norm || 'none',
    metadata: { prepend_bos: true, ...moved, ...metadata },
  };
}

import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { piecesOfFile, Unchanged } from '../disk/input-file.js';
import { checkJson, type EveryKey, readJsonFile } from '../disk/json.js';
import { Displaced } from '../disk/lock.js';
import { writeAside } from '../disk/output-file.js';
import { Unconfirmed } from '../disk/refused.js';
import { Refusal } from '../errors/refusal.js';
import { isWeightDType } from '../onnx/weight.js';
import {
  type DeferredTensor,
  floatTensor,
  readSafetensorsHeader,
  type TensorLocation,
  type TensorToWrite,
  writeSafetensors,
} from '../safetensors/file.js';
import { compareFingerprints, shortFingerprint } from '../safetensors/fingerprint.js';
import { firstNotFinite, readFloats } from '../safetensors/floats.js';
import { ARCHITECTURES, parametersOf } from './registry.js';
import {
  type ArchitectureName,
  architectures,
  type ForwardSettings,
  type ParameterName,
  type Parameters,
  PLAIN,
  parameterShape,
  type Sae,
  type Sizes,
} from './sae.js';
import type { WrittenRecord } from './training-record.js';
import { transcoderName, transcoderNames } from './transcoder-names.js';

/** SAELens drops the metadata of files that do not declare version 6 or later. */
const SAELENS_FORMAT = '6.0.0';

/** An SAE directory: its configuration, and the location of each parameter. */
export interface SaeFiles extends Sizes {
  readonly directory: string;
  readonly architecture: ArchitectureName;
  /** As in Sae. */
  readonly transcoder?: true;
  readonly skip?: true;
  /** PLAIN if absent. */
  readonly forward?: ForwardSettings;
  readonly metadata: SaeMetadata;
  readonly tensors: Readonly<Partial<Record<ParameterName, TensorLocation>>>;
  /** The unmodified cfg.json. */
  readonly cfg: Record<string, unknown>;
}

/** Max bytes of a cfg.json. */
const MOST_CFG = 2 ** 20;

const AGAIN = 'cfg.json and weights must belong to the same SAE; save or download both again.';

/** File names of an SAE. */
export const CFG_FILE = 'cfg.json';
export const WEIGHTS_FILE = 'sae_weights.safetensors';

/**
 * Writes cfg.json and sae_weights.safetensors in SAELens's format. cfg.json comes last: a directory that has one
 * contains a complete SAE; if it cannot be written, the weights are removed, too.
 */
export async function saveSae(directory: string, sae: Sae, metadata: SaeMetadata | WrittenMetadata): Promise<void> {
  const tensors = parametersOf(sae).map((name) => floatTensor(name, parameterShape(name, sae), sae.parameters[name]!));
  await saveTensors(directory, sae, tensors, metadata);
}

/** The part of an SAE described by cfg.json. */
export type SaeForm = Omit<Sae, 'parameters'>;

/** The same for parameters that need not be in memory together. */
export async function saveTensors(
  directory: string,
  sae: SaeForm,
  tensors: readonly (TensorToWrite | DeferredTensor)[],
  metadata: SaeMetadata | WrittenMetadata,
): Promise<void> {
  const weights = join(directory, WEIGHTS_FILE);
  const cfg = cfgOf(sae, metadata);
  try {
    await writeSafetensors(weights, tensors);
    await writeAside(join(directory, CFG_FILE), `${JSON.stringify(cfg, null, 2)}\n`);
  } catch (error) {
    // Once cfg.json is in place, the SAE is complete.
    const isWhole = error instanceof Unconfirmed && error.path !== weights;
    if (isWhole || error instanceof Displaced) throw error;
    await rm(weights, { force: true }).catch(() => {});
    throw error;
  }
}

/** The contents of cfg.json for an SAE. */
export function cfgOf(sae: SaeForm, metadata: SaeMetadata | WrittenMetadata): Record<string, unknown> {
  const { saelens } = ARCHITECTURES[sae.architecture];
  const forward = sae.forward ?? PLAIN;
  const saved = saelens.savedAs ? ARCHITECTURES[saelens.savedAs.architecture].saelens : saelens;
  const training = saelens.savedAs && { training_architecture: saelens.savedAs.training };
  return {
    // SAELens identifies it only by this name.
    architecture: sae.transcoder ? transcoderName(sae) : saved.names[0],
    d_in: sae.dIn,
    ...((sae.transcoder || sae.dOut !== sae.dIn) && { d_out: sae.dOut }),
    d_sae: sae.dSae,
    dtype: 'float32',
    device: 'cpu',
    // For SAEs trained here, the scale is folded into the weights (convert.ts).
    ...forward,
    // SAELens passes hook_z activations split by head unless told otherwise.
    reshape_activations: !sae.transcoder && metadata.hook_name?.endsWith('.hook_z') ? 'hook_z' : 'none',
    metadata: { sae_lens_version: SAELENS_FORMAT, ...metadata, ...training },
  };
}

/**
 * Opens an SAE directory without reading its weights.
 *
 * @param taken kind of SAE accepted besides ordinary ones
 * @throws Refusal if files are missing or damaged, require something unsupported, or belong to a transcoder
 */
export async function openSae(directory: string, taken?: 'transcoder'): Promise<SaeFiles> {
  const path = join(directory, CFG_FILE);
  const json = await readJsonFile(
    path,
    [
      `${directory} is not an SAE directory (it has no ${CFG_FILE}).`,
      'Give a directory that `sae-pipe train` finished, or a SAELens one.',
      'sae/not-an-sae',
    ],
    AGAIN,
    MOST_CFG,
  );
  const { architecture, transcoder, skip, dIn, dOut, dSae, forward, metadata } = readCfg(json, path);
  if (transcoder && taken !== 'transcoder') throw notOfOneHook(directory, metadata);
  const weights = join(directory, WEIGHTS_FILE);
  const { tensors: found } = await readSafetensorsHeader(weights);
  const tensors: Partial<Record<ParameterName, TensorLocation>> = {};
  for (const name of parametersOf({ architecture, skip })) {
    const shape = parameterShape(name, { dIn, dOut, dSae });
    const tensor = found.get(name);
    if (!tensor)
      throw new Refusal(
        `${weights} lacks ${name}, a parameter of a ${architecture} SAE.`,
        AGAIN,
        'sae/parameter-missing',
      );
    if (tensor.shape.join() !== shape.join()) {
      throw new Refusal(
        `${weights}: ${name} has shape [${tensor.shape.join(', ')}] where ${CFG_FILE} implies [${shape.join(', ')}].`,
        AGAIN,
        'sae/wrong-shape',
      );
    }
    if (!isWeightDType(tensor.dtype)) {
      throw new Refusal(
        `${weights}: ${name} is ${tensor.dtype}; supported are F32, F16 and BF16.`,
        'Save the SAE in one of these types.',
        'sae/wrong-dtype',
      );
    }
    tensors[name] = tensor;
  }
  await checkScalingFactor(weights, found.get('scaling_factor'));
  return {
    directory,
    architecture,
    ...(transcoder && { transcoder }),
    ...(skip && { skip }),
    dIn,
    dOut,
    dSae,
    forward,
    metadata,
    tensors,
    cfg: json as Record<string, unknown>,
  };
}

function notOfOneHook(directory: string, { hook_name: from, hook_name_out: to }: SaeMetadata): Refusal {
  const hooks = from === undefined || to === undefined ? '' : ` from ${from} to ${to}`;
  return new Refusal(
    `${directory} is a transcoder${hooks}, which this command does not accept.`,
    'Give an SAE that reconstructs the hook it reads.',
    'sae/transcoder',
  );
}

/** SAELens before 6 could fine-tune a factor on f; SAELens 6 only opens such a file if every factor is 1. */
async function checkScalingFactor(path: string, tensor: TensorLocation | undefined): Promise<void> {
  if (!tensor || (await readFloats(tensor, 'scaling_factor')).every((factor) => factor === 1)) return;
  throw new Refusal(
    `${path} has a scaling_factor, which is not supported.`,
    'Multiply the rows of W_dec by it.',
    'sae/scaling-factor',
  );
}

/**
 * Reads the parameters of an SAE, as float32.
 *
 * @throws Refusal if one is NaN or infinite
 */
export async function readSae(files: SaeFiles): Promise<Sae> {
  const parameters: Parameters = {};
  for (const name of parametersOf(files)) {
    const location = files.tensors[name]!;
    const values = await readFloats(location);
    checkFinite(values, name, location);
    parameters[name] = values;
  }
  const { architecture, transcoder, skip, dIn, dOut, dSae, forward } = files;
  const kind = { ...(transcoder && { transcoder }), ...(skip && { skip }) };
  return { architecture, ...kind, dIn, dOut, dSae, forward, parameters };
}

/** The contents of a cfg.json. */
export interface SaeCfg extends Sizes {
  readonly architecture: ArchitectureName;
  readonly transcoder?: true;
  readonly skip?: true;
  readonly forward: ForwardSettings;
  readonly metadata: SaeMetadata;
}

const OTHER_CFG = 'Use the cfg.json that came with the weights, or train the SAE again.';

const NORMALIZATIONS = ['none', 'constant_norm_rescale', 'layer_norm'] as const;

/** SAELens writes null for missing values. */
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);

const metadataKeys = {
  model_name: optional(z.string()),
  model_fingerprint: optional(z.string()),
  hook_name: optional(z.string()),
  /** For a transcoder: the hook it reconstructs. */
  hook_name_out: optional(z.string()),
  /** For an SAE saved as another architecture than it was trained as. */
  training_architecture: optional(z.string()),
  context_size: optional(z.number().int().min(2)),
  prepend_bos: optional(z.boolean()),
  /** Positions with a norm above multiple × median were left out of training. */
  max_activation_norm_multiple: optional(z.number().min(1)),
  median_activation_norm: optional(z.number().positive()),
  /** Whether special tokens other than BOS were left out of training, or which. */
  exclude_special_tokens: optional(z.union([z.boolean(), z.array(z.number().int().nonnegative()).readonly()])),
  /** Conversation roles that it was trained on, if not all. */
  chat_roles: optional(z.array(z.string()).readonly()),
};
const metadataSchema = z.looseObject(metadataKeys);

/** Information in cfg.json besides the shapes; `sae_pipe` is read by trainingRecordOf. */
export type SaeMetadata = Readonly<Partial<z.output<typeof metadataSchema>>>;
/** The same, as written by training. */
export type WrittenMetadata = Readonly<EveryKey<z.input<z.ZodObject<typeof metadataKeys>>>> & {
  /** Used by SAELens for SAEs of a single head. */
  readonly hook_head_index: null;
  readonly sae_pipe: WrittenRecord;
};

const cfgSchema = z.looseObject({
  architecture: z.string(),
  d_in: z.number().int().positive(),
  d_out: optional(z.number().int().positive()),
  d_sae: z.number().int().positive(),
  apply_b_dec_to_input: z.boolean().default(true),
  normalize_activations: z.string().default('none'),
  reshape_activations: z.string().default('none'),
  metadata: metadataSchema.prefault({}),
});

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null;

/**
 * Reads the contents of a cfg.json of SAELens 6, or of an older one as SAELens 6 does.
 *
 * @param path the file, for messages
 * @throws Refusal naming what is invalid or unsupported
 */
export function readCfg(json: unknown, path: string): SaeCfg {
  const cfg = checkJson(cfgSchema, isObject(json) ? modernised(json, path) : json, path, OTHER_CFG);
  const { apply_b_dec_to_input, d_in, d_out = d_in, d_sae } = cfg;
  const among = <T extends string>(key: keyof typeof cfg & string, choices: readonly T[]): T => {
    if (choices.includes(cfg[key] as T)) return cfg[key] as T;
    throw new Refusal(
      `${path}: ${key} is ${JSON.stringify(cfg[key])}; supported are ${choices.join(', ')}.`,
      CFG_REMEDY[key] ?? 'Save the SAE with one of these.',
      'sae/unsupported-cfg',
    );
  };
  const namesOf = (name: ArchitectureName) => [...ARCHITECTURES[name].saelens.names, ...transcoderNames(name)];
  const said = among('architecture', architectures.flatMap(namesOf));
  const found = architectures.find((name) => namesOf(name).includes(said))!;
  const transcoder = transcoderNames(found).includes(said);
  const skip = said === transcoderName({ architecture: found, skip: true });
  const architecture = trainedAs(found, cfg.metadata.training_architecture);
  checkWidths(cfg, transcoder, path);
  // Activations at hook_z are flat here, which SAELens gets by reshaping its heads.
  among('reshape_activations', ['none', 'hook_z']);
  const plain = { apply_b_dec_to_input, normalize_activations: among('normalize_activations', NORMALIZATIONS) };
  return {
    architecture,
    ...(transcoder && { transcoder }),
    ...(skip && { skip }),
    dIn: d_in,
    dOut: d_out,
    dSae: d_sae,
    forward: { ...plain, ...ARCHITECTURES[architecture].saelens.read?.(cfg, d_sae, path) },
    metadata: cfg.metadata,
  };
}

/** The architecture an SAE was trained as, if it is saved as another one. */
function trainedAs(saved: ArchitectureName, training: string | undefined): ArchitectureName {
  const trained = architectures.find((name) => {
    const { savedAs } = ARCHITECTURES[name].saelens;
    return savedAs?.architecture === saved && savedAs.training === training;
  });
  return trained ?? saved;
}

/**
 * @throws Refusal if a transcoder's keys and its name contradict each other: SAELens would compute something else, or
 * fail
 */
function checkWidths(
  { architecture, d_in, d_out, apply_b_dec_to_input }: z.infer<typeof cfgSchema>,
  transcoder: boolean,
  path: string,
): void {
  const wrong = (what: string) => new Refusal(`${path}: ${what}.`, OTHER_CFG, 'sae/unsupported-cfg');
  if (!transcoder && d_out !== undefined && d_out !== d_in) {
    throw wrong(`d_out is ${d_out} and d_in ${d_in}, but a ${architecture} SAE must have equal widths`);
  }
  if (transcoder && d_out === undefined) throw wrong('d_out is missing, which a transcoder requires');
  if (transcoder && apply_b_dec_to_input) {
    throw wrong('apply_b_dec_to_input must be false: the b_dec of a transcoder belongs to its target');
  }
}

const CFG_REMEDY: Record<string, string> = {
  normalize_activations: 'Fold the normalisation into the weights with SAELens, and save the SAE again.',
};

/** Keys at the top level before SAELens 6, and in its metadata since. */
const MOVED = ['model_name', 'hook_name', 'context_size', 'prepend_bos'] as const;

/** Converts a cfg.json from before SAELens 6 to its keys (its `handle_pre_6_0_config`). */
function modernised(cfg: Json, path: string): Json {
  const metadata = isObject(cfg.metadata) ? cfg.metadata : {};
  const version = cfg.sae_lens_version ?? metadata.sae_lens_version;
  if (typeof version === 'string' && Number.parseInt(version, 10) >= 6) return cfg;
  const old: Json = { ...cfg, hook_name: cfg.hook_name ?? cfg.hook_point };
  const activation = cfg.activation_fn ?? cfg.activation_fn_str ?? 'relu';
  const told = architectures.filter((name) => ARCHITECTURES[name].saelens.activation !== undefined);
  const architecture = told.find((name) => ARCHITECTURES[name].saelens.activation === activation);
  if (architecture === undefined) {
    const supported = told.map((name) => ARCHITECTURES[name].saelens.activation).join(', ');
    throw new Refusal(
      `${path}: activation_fn is ${JSON.stringify(activation)}; supported are ${supported}.`,
      'Use an SAE with one of them.',
      'sae/unsupported-cfg',
    );
  }
  const moved = Object.fromEntries(MOVED.filter((key) => old[key] !== undefined).map((key) => [key, old[key]]));
  const k = isObject(cfg.activation_fn_kwargs) ? cfg.activation_fn_kwargs.k : cfg.k;
  const { normalize_activations: norm } = cfg;
  return {
    ...cfg,
    // ReLU is the activation of every other architecture, too.
    architecture: activation === 'relu' ? (cfg.architecture ?? architecture) : architecture,
    ...(k === undefined ? {} : { k }),
    // It was a boolean: false, or scaling to a mean norm of √d_in.
    normalize_activations: norm === true ? 'expected_average_only_in' : norm || 'none',
    metadata: { prepend_bos: true, ...moved, ...metadata },
  };
}

/** Bytes read and checked at a time. */
const PIECE = 2 ** 26;

/**
 * Checks every weight of an SAE, in chunks: graphs read them directly from the file, and ReLU may hide a NaN.
 *
 * @throws Refusal naming the first that is NaN or infinite
 */
export async function checkFiniteWeights({ tensors }: SaeFiles): Promise<void> {
  for (const [name, location] of Object.entries(tensors)) {
    for (let done = 0; done < location.length; done += PIECE) {
      const length = Math.min(PIECE, location.length - done);
      checkFinite(await readFloats({ ...location, offset: location.offset + done, length }), name, location);
    }
  }
}

/** @throws Refusal if a value is NaN or infinite */
function checkFinite(values: Float32Array, name: string, { path }: TensorLocation): void {
  const at = firstNotFinite(values, 'float32');
  if (at < 0) return;
  throw new Refusal(
    `${path} contains ${values[at]} in ${name}.`,
    'The SAE is damaged: use another, or train it again.',
    'sae/not-finite',
  );
}

/** SHA-256 of an SAE's cfg.json followed by its sae_weights.safetensors. */
async function hashSae(directory: string): Promise<string> {
  const hash = createHash('sha256');
  for (const file of [CFG_FILE, WEIGHTS_FILE]) {
    for await (const piece of piecesOfFile(join(directory, file))) hash.update(piece);
  }
  return hash.digest('hex');
}

/** An SAE that is read several times, and must not change: `unchanged.digest` is its hash. */
export async function openSameSae(
  directory: string,
  taken?: 'transcoder',
): Promise<{ files: SaeFiles; unchanged: Unchanged }> {
  // Headers first: something that is not an SAE may be a file without end.
  let files = await openSae(directory, taken);
  const paths = [CFG_FILE, WEIGHTS_FILE].map((name) => join(directory, name));
  const unchanged = await Unchanged.of(directory, paths, async () => {
    files = await openSae(directory, taken);
    return hashSae(directory);
  });
  return { files, unchanged };
}

/**
 * @param now the model in use, and its name in messages
 * @param remedy what to do if it is a different one
 * @throws Refusal if the SAE records another model, or a fingerprint that cannot be compared
 */
export function checkModelOf(
  path: string,
  { model_fingerprint: recorded, model_name: name }: SaeMetadata,
  now: { readonly label: string; readonly fingerprint: string },
  remedy: string,
): void {
  if (recorded === undefined) return;
  const found = compareFingerprints(recorded, now.fingerprint);
  if (found === 'different') {
    throw new Refusal(
      `${path} was trained on another model (${name}, ${shortFingerprint(recorded)}) than ${now.label} (${shortFingerprint(now.fingerprint)}).`,
      remedy,
      'sae/other-model',
    );
  }
  if (found === 'incomparable') {
    throw new Refusal(
      `${path} was trained on ${name}, whose fingerprint was made by another version of sae-pipe and cannot be compared with that of ${now.label}.`,
      'Give --any-model if you know that it is the same model, or train the SAE again.',
      'sae/other-fingerprint',
    );
  }
}

import { join } from 'node:path';
import { z } from 'zod';
import { Refusal } from '../config/refusal.js';
import { checkJson, readJsonFile } from '../disk/json-file.js';
import { writeAside } from '../disk/write-aside.js';
import { isWeightDType } from '../onnx/weight.js';
import { readSafetensorsHeader, type TensorLocation } from '../safetensors/header.js';
import { readFloats } from '../safetensors/read.js';
import { floatTensor, writeSafetensors } from '../safetensors/write.js';
import {
  type Architecture,
  architectures,
  PARAMETERS,
  type ParameterName,
  type Parameters,
  parameterShape,
  type Sae,
} from './sae.js';

/** SAELens drops the metadata of files that do not say they are of version 6 or later. */
const SAELENS_FORMAT = '6.0.0';

/** What cfg.json tells beside the shapes; `sae_pipe` is our training record. */
export interface SaeMetadata {
  readonly model_name?: string;
  readonly model_fingerprint?: string;
  readonly hook_name?: string;
  readonly context_size?: number;
  readonly prepend_bos?: boolean;
  readonly [key: string]: unknown;
}

/** An SAE directory: its configuration, and where each parameter lies. */
export interface SaeFiles {
  readonly directory: string;
  readonly architecture: Architecture;
  readonly dIn: number;
  readonly dSae: number;
  readonly metadata: SaeMetadata;
  readonly tensors: Readonly<Partial<Record<ParameterName, TensorLocation>>>;
  /** cfg.json as it is. */
  readonly cfg: Record<string, unknown>;
}

/** Names of the files of an SAE. */
export const CFG_FILE = 'cfg.json';
export const WEIGHTS_FILE = 'sae_weights.safetensors';

/** SAELens writes null where it has nothing to say. */
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);

const cfgSchema = z.looseObject({
  architecture: z.string(),
  d_in: z.number().int().positive(),
  d_sae: z.number().int().positive(),
  apply_b_dec_to_input: z.boolean().default(true),
  normalize_activations: z.string().default('none'),
  reshape_activations: z.string().default('none'),
  metadata: z
    .looseObject({
      model_name: optional(z.string()),
      model_fingerprint: optional(z.string()),
      hook_name: optional(z.string()),
      context_size: optional(z.number().int().min(2)),
      prepend_bos: optional(z.boolean()),
    })
    .prefault({}),
});

/**
 * Writes cfg.json and sae_weights.safetensors as SAELens reads them. cfg.json comes last: a directory with one holds a
 * whole SAE.
 */
export async function saveSae(directory: string, sae: Sae, metadata: SaeMetadata): Promise<void> {
  const tensors = PARAMETERS[sae.architecture].map((name) =>
    floatTensor(name, parameterShape(name, sae.dIn, sae.dSae), sae.parameters[name]!),
  );
  await writeSafetensors(join(directory, WEIGHTS_FILE), tensors);
  const cfg = {
    architecture: sae.architecture,
    d_in: sae.dIn,
    d_sae: sae.dSae,
    dtype: 'float32',
    device: 'cpu',
    apply_b_dec_to_input: true,
    // The training-time scale is folded into the weights (activation-scale.ts).
    normalize_activations: 'none',
    // SAELens hands hook_z activations over by head unless it is told.
    reshape_activations: metadata.hook_name?.endsWith('.hook_z') ? 'hook_z' : 'none',
    metadata: { sae_lens_version: SAELENS_FORMAT, ...metadata },
  };
  await writeAside(join(directory, CFG_FILE), `${JSON.stringify(cfg, null, 2)}\n`);
}

/**
 * Opens an SAE directory without reading its weights.
 *
 * @throws Refusal when files are missing or broken, or say something we do not compute
 */
export async function openSae(directory: string): Promise<SaeFiles> {
  const path = join(directory, CFG_FILE);
  const json = await readJsonFile(path, [
    `${directory} is not an SAE directory (it has no ${CFG_FILE}).`,
    'Name a directory that `sae-pipe train` finished, or a SAELens one.',
  ]);
  const cfg = checkJson(cfgSchema, json, path);
  const unsupported = (
    key: 'architecture' | 'apply_b_dec_to_input' | 'normalize_activations' | 'reshape_activations',
    supported: string,
  ): never => {
    throw new Refusal(`${path}: ${key} is ${JSON.stringify(cfg[key])}; supported is ${supported}.`);
  };
  if (!architectures.includes(cfg.architecture as Architecture))
    unsupported('architecture', architectures.join(' and '));
  if (!cfg.apply_b_dec_to_input) unsupported('apply_b_dec_to_input', 'true');
  if (cfg.normalize_activations !== 'none') unsupported('normalize_activations', '"none"');
  if (!['none', 'hook_z'].includes(cfg.reshape_activations)) unsupported('reshape_activations', '"none" and "hook_z"');
  const architecture = cfg.architecture as Architecture;
  const weights = join(directory, WEIGHTS_FILE);
  const { tensors: found } = await readSafetensorsHeader(weights);
  const tensors: Partial<Record<ParameterName, TensorLocation>> = {};
  for (const name of PARAMETERS[architecture]) {
    const shape = parameterShape(name, cfg.d_in, cfg.d_sae);
    const tensor = found.get(name);
    if (!tensor) throw new Refusal(`${weights} lacks ${name}, a parameter of a ${architecture} SAE.`);
    if (tensor.shape.join() !== shape.join()) {
      throw new Refusal(
        `${weights}: ${name} has shape [${tensor.shape.join(', ')}] where ${CFG_FILE} implies [${shape.join(', ')}].`,
      );
    }
    if (!isWeightDType(tensor.dtype)) {
      throw new Refusal(`${weights}: ${name} is ${tensor.dtype}; supported are F32, F16 and BF16.`);
    }
    tensors[name] = tensor;
  }
  return {
    directory,
    architecture,
    dIn: cfg.d_in,
    dSae: cfg.d_sae,
    metadata: cfg.metadata as SaeMetadata,
    tensors,
    cfg: json as Record<string, unknown>,
  };
}

/** Reads the parameters of an SAE, as float32. */
export async function readSae(files: SaeFiles): Promise<Sae> {
  const parameters: Parameters = {};
  for (const name of PARAMETERS[files.architecture]) parameters[name] = await readFloats(files.tensors[name]!);
  return { architecture: files.architecture, dIn: files.dIn, dSae: files.dSae, parameters };
}

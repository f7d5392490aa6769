import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { Displaced } from '../disk/held-locks.js';
import { readJsonFile } from '../disk/json-file.js';
import { Unconfirmed } from '../disk/refused-write.js';
import { writeAside } from '../disk/write-aside.js';
import { isWeightDType } from '../onnx/weight.js';
import { readSafetensorsHeader, type TensorLocation } from '../safetensors/header.js';
import { readFloats } from '../safetensors/read.js';
import { floatTensor, writeSafetensors } from '../safetensors/write.js';
import { checkFinite } from './finite-weights.js';
import {
  type Architecture,
  type ForwardSettings,
  PARAMETERS,
  type ParameterName,
  type Parameters,
  PLAIN,
  parameterShape,
  type Sae,
} from './sae.js';
import { readCfg, type SaeMetadata } from './saelens-cfg.js';

export type { SaeMetadata };

/** SAELens drops the metadata of files that do not say they are of version 6 or later. */
const SAELENS_FORMAT = '6.0.0';

/** An SAE directory: its configuration, and where each parameter lies. */
export interface SaeFiles {
  readonly directory: string;
  readonly architecture: Architecture;
  readonly dIn: number;
  readonly dSae: number;
  /** PLAIN where absent. */
  readonly forward?: ForwardSettings;
  readonly metadata: SaeMetadata;
  readonly tensors: Readonly<Partial<Record<ParameterName, TensorLocation>>>;
  /** cfg.json as it is. */
  readonly cfg: Record<string, unknown>;
}

/** Bytes of a cfg.json, at most. */
const MOST_CFG = 2 ** 20;

const AGAIN = 'cfg.json and weights must be of one SAE; save or download both again.';

/** Names of the files of an SAE. */
export const CFG_FILE = 'cfg.json';
export const WEIGHTS_FILE = 'sae_weights.safetensors';

/**
 * Writes cfg.json and sae_weights.safetensors as SAELens reads them. cfg.json comes last: a directory with one holds a
 * whole SAE, and one without has no weights either: they go where it cannot be written.
 */
export async function saveSae(directory: string, sae: Sae, metadata: SaeMetadata): Promise<void> {
  const tensors = PARAMETERS[sae.architecture].map((name) =>
    floatTensor(name, parameterShape(name, sae.dIn, sae.dSae), sae.parameters[name]!),
  );
  const weights = join(directory, WEIGHTS_FILE);
  const cfg = cfgOf(sae, metadata);
  try {
    await writeSafetensors(weights, tensors);
    await writeAside(join(directory, CFG_FILE), `${JSON.stringify(cfg, null, 2)}\n`);
  } catch (error) {
    // Where cfg.json is in place, the SAE is whole.
    const isWhole = error instanceof Unconfirmed && error.path !== weights;
    if (isWhole || error instanceof Displaced) throw error;
    await rm(weights, { force: true }).catch(() => {});
    throw error;
  }
}

/** What cfg.json says of an SAE. */
export function cfgOf(sae: Sae, metadata: SaeMetadata): Record<string, unknown> {
  return {
    architecture: sae.architecture,
    d_in: sae.dIn,
    d_sae: sae.dSae,
    dtype: 'float32',
    device: 'cpu',
    // Of what is trained here, the scale is folded into the weights (activation-scale.ts).
    ...(sae.forward ?? PLAIN),
    // SAELens hands hook_z activations over by head unless it is told.
    reshape_activations: metadata.hook_name?.endsWith('.hook_z') ? 'hook_z' : 'none',
    metadata: { sae_lens_version: SAELENS_FORMAT, ...metadata },
  };
}

/**
 * Opens an SAE directory without reading its weights.
 *
 * @throws Refusal when files are missing or broken, or say something we do not compute
 */
export async function openSae(directory: string): Promise<SaeFiles> {
  const path = join(directory, CFG_FILE);
  const json = await readJsonFile(
    path,
    [
      `${directory} is not an SAE directory (it has no ${CFG_FILE}).`,
      'Name a directory that `sae-pipe train` finished, or a SAELens one.',
    ],
    AGAIN,
    MOST_CFG,
  );
  const { architecture, dIn, dSae, forward, metadata } = readCfg(json, path);
  const weights = join(directory, WEIGHTS_FILE);
  const { tensors: found } = await readSafetensorsHeader(weights);
  const tensors: Partial<Record<ParameterName, TensorLocation>> = {};
  for (const name of PARAMETERS[architecture]) {
    const shape = parameterShape(name, dIn, dSae);
    const tensor = found.get(name);
    if (!tensor) throw new Refusal(`${weights} lacks ${name}, a parameter of a ${architecture} SAE.`, AGAIN);
    if (tensor.shape.join() !== shape.join()) {
      throw new Refusal(
        `${weights}: ${name} has shape [${tensor.shape.join(', ')}] where ${CFG_FILE} implies [${shape.join(', ')}].`,
        AGAIN,
      );
    }
    if (!isWeightDType(tensor.dtype)) {
      throw new Refusal(
        `${weights}: ${name} is ${tensor.dtype}; supported are F32, F16 and BF16.`,
        'Save the SAE in one of these.',
      );
    }
    tensors[name] = tensor;
  }
  await checkScalingFactor(weights, found.get('scaling_factor'));
  return {
    directory,
    architecture,
    dIn,
    dSae,
    forward,
    metadata,
    tensors,
    cfg: json as Record<string, unknown>,
  };
}

/** SAELens before 6 could fine-tune a factor on f; SAELens 6 opens such a file only where every factor is 1. */
async function checkScalingFactor(path: string, tensor: TensorLocation | undefined): Promise<void> {
  if (!tensor || (await readFloats(tensor, 'scaling_factor')).every((factor) => factor === 1)) return;
  throw new Refusal(`${path} has a scaling_factor, which is not supported.`, 'Multiply the rows of W_dec by it.');
}

/**
 * Reads the parameters of an SAE, as float32.
 *
 * @throws Refusal where one is NaN or infinite
 */
export async function readSae(files: SaeFiles): Promise<Sae> {
  const parameters: Parameters = {};
  for (const name of PARAMETERS[files.architecture]) {
    const location = files.tensors[name]!;
    const values = await readFloats(location);
    checkFinite(values, name, location);
    parameters[name] = values;
  }
  const { architecture, dIn, dSae, forward } = files;
  return { architecture, dIn, dSae, forward, parameters };
}

import { stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { readJsonFile } from '../disk/json-file.js';
import type { TensorLocation } from '../safetensors/header.js';
import { fingerprint } from './fingerprint.js';
import { type GemmaConfig, parseGemmaConfig } from './gemma-config.js';
import { languageModelTensors } from './tensors.js';
import { readWeightFiles } from './weight-files.js';

/** A Hugging Face checkpoint on disk: its configuration and where each tensor lies. No weight has been read. */
export interface Checkpoint {
  readonly directory: string;
  /** Last part of the directory's path; goes into manifests and SAE metadata. */
  readonly name: string;
  readonly config: GemmaConfig;
  /** The language model's tensors by their Hugging Face names, without what stands before `layers.` there. */
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  /** Identifies the weights wherever they lie; see fingerprint.ts. */
  readonly fingerprint: string;
}

/**
 * Opens a checkpoint directory: config.json, and model.safetensors or shards with their index.
 *
 * @throws Refusal when a file is missing or broken, or a tensor the architecture needs is absent or of another shape
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const directory = resolve(path);
  const isDirectory = await stat(directory).then(
    (s) => s.isDirectory(),
    () => false,
  );
  if (!isDirectory) {
    throw new Refusal(
      `There is no model directory ${path}.`,
      'Give a directory with config.json and model.safetensors.',
    );
  }
  const configPath = join(directory, 'config.json');
  const json = await readJsonFile(
    configPath,
    [`There is no file ${configPath}.`, 'A model directory needs its config.json.'],
    'Download the file again.',
  );
  const config = parseGemmaConfig(json, configPath);
  const weights = await readWeightFiles(directory);
  return {
    directory,
    name: modelName(directory),
    config,
    tensors: languageModelTensors(weights.tensors, config, weights.label),
    fingerprint: await fingerprint(weights.paths),
  };
}

/** Name of the model: org/name in a Hugging Face cache, whose directories are named by commit; else the directory's. */
function modelName(directory: string): string {
  const cached = /models--(.+?)--(.+?)\/snapshots\//.exec(`${directory}/`);
  return cached ? `${cached[1]}/${cached[2]}` : basename(directory);
}

import { stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { readJsonFile } from '../disk/json-file.js';
import { Unchanged } from '../disk/unchanged.js';
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
  /** Identifies the model wherever it lies; see fingerprint.ts. */
  readonly fingerprint: string;
  /**
   * Graphs read the weights by themselves, and map them into memory.
   *
   * @throws Refusal where config.json or weights are no longer those that were opened
   */
  checkUnchanged(): Promise<void>;
}

/** Bytes of a config.json, at most. */
const MOST_CONFIG = 2 ** 20;

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
  let read = await readModel(directory);
  const unchanged = await Unchanged.of(`The model ${path}`, read.paths, async () => {
    read = await readModel(directory);
    return fingerprint(read.config, read.tensors);
  });
  const { config, tensors } = read;
  return {
    directory,
    name: modelName(directory),
    config,
    tensors,
    fingerprint: unchanged.digest,
    checkUnchanged: () => unchanged.check(),
  };
}

/** What config.json and the headers of the weights say, and the files that say it. */
async function readModel(directory: string) {
  const configPath = join(directory, 'config.json');
  const json = await readJsonFile(
    configPath,
    [`There is no file ${configPath}.`, 'A model directory needs its config.json.'],
    'Download the file again.',
    MOST_CONFIG,
  );
  const config = parseGemmaConfig(json, configPath);
  const weights = await readWeightFiles(directory);
  const tensors = languageModelTensors(weights.tensors, config, weights.label);
  return { config, tensors, paths: [configPath, ...weights.paths] };
}

/** Name of the model: org/name in a Hugging Face cache, whose directories are named by commit; else the directory's. */
function modelName(directory: string): string {
  const cached = /models--(.+?)--(.+?)\/snapshots\//.exec(`${directory}/`);
  return cached ? `${cached[1]}/${cached[2]}` : basename(directory);
}

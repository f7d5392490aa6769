import { readdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import { exists, Unchanged } from '../disk/input-file.js';
import { checkJson, readJsonFile } from '../disk/json.js';
import { Refusal } from '../errors/refusal.js';
import { isShardName, WEIGHTS, WEIGHTS_INDEX } from '../hub/cache.js';
import type { GraphBuilder } from '../onnx/graph.js';
import { isWeightDType } from '../onnx/weight.js';
import { readSafetensorsHeader, type TensorLocation } from '../safetensors/file.js';
import { fingerprint } from '../safetensors/fingerprint.js';
import { readPthTensors } from '../safetensors/pth.js';
import { parseModelConfig } from './families/registry.js';
import type { ModelConfig, ModelGraph } from './family.js';
import { ModelWriter } from './model-writer.js';
import type { Past } from './past.js';
import type { Placement } from './placement.js';

/** A Hugging Face checkpoint on disk: its configuration and the location of each tensor. No weight has been read. */
export interface Checkpoint {
  readonly directory: string;
  /** Last component of the directory's path; recorded in manifests and SAE metadata. */
  readonly name: string;
  readonly config: ModelConfig;
  /** The language model's tensors by their family's names, without prefix. */
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  /** Identifies the model regardless of its location; see safetensors/fingerprint.ts. */
  readonly fingerprint: string;
  /**
   * For graphs, which memory-map the weights themselves.
   *
   * @throws Refusal if config.json or weights have changed since they were opened
   */
  checkUnchanged(): Promise<void>;
}

/** Starts building a model in a graph. */
export function writeModel(
  g: GraphBuilder,
  { config, tensors }: Pick<Checkpoint, 'config' | 'tensors'>,
  context: number,
  placement: Placement = { device: 'cpu', precision: 'float32' },
): ModelGraph {
  return config.write(new ModelWriter(g, tensors, context, placement));
}

/** Starts building a model that processes tokens one step at a time in the graph of `past`. */
export function writeStepModel(
  g: GraphBuilder,
  { config, tensors }: Pick<Checkpoint, 'config' | 'tensors'>,
  past: Past,
  placement: Placement,
): ModelGraph {
  return config.write(new ModelWriter(g, tensors, 0, placement, past));
}

/** Bytes of a config.json, at most. */
const MOST_CONFIG = 2 ** 20;

/**
 * Opens a checkpoint directory: config.json, and model.safetensors or shards with their index.
 *
 * @throws Refusal if a file is missing or damaged, or a required tensor is missing or of another shape
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const directory = resolve(path);
  const isDirectory = await stat(directory).then(
    (s) => s.isDirectory(),
    () => false,
  );
  if (!isDirectory) {
    throw new Refusal(
      `The model directory ${path} does not exist.`,
      'Give a directory with config.json and model.safetensors.',
      'lm/no-directory',
    );
  }
  let read = await readModel(directory);
  const unchanged = await Unchanged.of(`The model ${path}`, read.paths, async () => {
    read = await readModel(directory);
    return fingerprint(read.config.shape, read.tensors);
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

/** config.json and the headers of the weights, and the files they come from. */
async function readModel(directory: string) {
  const configPath = join(directory, 'config.json');
  const json = await readJsonFile(
    configPath,
    [`${configPath} does not exist.`, 'A model directory needs its config.json.', 'lm/no-config'],
    'Download the file again.',
    MOST_CONFIG,
  );
  const config = parseModelConfig(json, configPath);
  const weights = await readWeightFiles(directory);
  const tensors = languageModelTensors(weights.tensors, config, weights.label);
  return { config, tensors, paths: [configPath, ...weights.paths] };
}

/**
 * Name of the model: org/name in a Hugging Face cache, whose directories are named by commit; otherwise the
 * directory's.
 */
function modelName(directory: string): string {
  const cached = /models--(.+?)--(.+?)\/snapshots\//.exec(`${directory}/`);
  return cached ? `${cached[1]}/${cached[2]}` : basename(directory);
}

const DOWNLOAD_AGAIN = 'Download the complete checkpoint again.';

/** Max bytes of an index: it has one line per tensor. */
const MOST_INDEX = 2 ** 22;

const indexSchema = z.object({ weight_map: z.custom<object>((map) => map !== null && typeof map === 'object') });

/** Maps tensors to files; validated without a schema, which takes seconds for a long list. */
async function readMap(index: string): Promise<Map<string, string>> {
  const json = await readJsonFile(index, [`${index} does not exist.`, DOWNLOAD_AGAIN], DOWNLOAD_AGAIN, MOST_INDEX);
  const entries = Object.entries(checkJson(indexSchema, json, index, DOWNLOAD_AGAIN).weight_map);
  const odd = entries.find(([, file]) => typeof file !== 'string');
  if (odd)
    throw new Refusal(
      `${index}: weight_map.${odd[0]}: expected the name of a file.`,
      DOWNLOAD_AGAIN,
      'lm/broken-index',
    );
  return new Map(entries);
}

/** The weights of a checkpoint: its files sorted by name, and all their tensors. */
interface WeightFiles {
  readonly paths: readonly string[];
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  /** Their name in messages: the file, or the index of the shards. */
  readonly label: string;
}

/**
 * Reads the headers of a checkpoint's weights: model.safetensors, otherwise the shards of model.safetensors.index.json.
 *
 * @throws Refusal if a file is missing or damaged, or the index names something missing
 */
async function readWeightFiles(directory: string): Promise<WeightFiles> {
  const single = join(directory, WEIGHTS);
  if (await exists(single)) {
    const { tensors } = await readSafetensorsHeader(single);
    return { paths: [single], tensors, label: single };
  }
  const index = join(directory, WEIGHTS_INDEX);
  if (!(await exists(index))) {
    const saved = await torchFile(directory);
    if (saved !== null) return { paths: [saved], tensors: await readPthTensors(saved), label: saved };
    throw new Refusal(
      `${directory} has no ${WEIGHTS}.`,
      `Download the complete checkpoint; shards need their ${WEIGHTS_INDEX}.`,
      'lm/no-weights',
    );
  }
  const map = await readMap(index);
  const names = [...new Set(map.values())].sort();
  for (const name of names) {
    if (!isShardName(name)) {
      throw new Refusal(
        `${index} names the file ${JSON.stringify(name)}, which is not a .safetensors file next to it.`,
        DOWNLOAD_AGAIN,
        'lm/unsafe-shard-name',
      );
    }
  }
  if (names.length === 0) throw new Refusal(`${index} names no files.`, DOWNLOAD_AGAIN, 'lm/broken-index');
  const tensors = new Map<string, TensorLocation>();
  for (const name of names) {
    const path = join(directory, name);
    if (!(await exists(path)))
      throw new Refusal(`${directory} lacks the shard ${name}.`, DOWNLOAD_AGAIN, 'lm/no-shard');
    const shard = (await readSafetensorsHeader(path)).tensors;
    for (const [tensor, file] of map) {
      if (file !== name) continue;
      const location = shard.get(tensor);
      if (!location)
        throw new Refusal(
          `${path} lacks the tensor ${tensor} that ${WEIGHTS_INDEX} places there.`,
          DOWNLOAD_AGAIN,
          'lm/no-tensor',
        );
      tensors.set(tensor, location);
    }
  }
  return { paths: names.map((name) => join(directory, name)), tensors, label: index };
}

/** The single torch.save file in a directory, if any: a .pth or .pt, or Hugging Face's pytorch_model.bin. */
async function torchFile(directory: string): Promise<string | null> {
  const names = (await readdir(directory)).filter((name) => /\.(pth|pt)$/.test(name) || name === 'pytorch_model.bin');
  // TransformerLens keeps those of earlier steps next to the last.
  const last = names.filter((name) => name.endsWith('final.pth'));
  const [only, other] = last.length === 1 ? last : names;
  if (only !== undefined && other !== undefined) {
    throw new Refusal(
      `${directory} has several torch.save files (${only}, ${other}).`,
      'Keep only the right one, or convert it to safetensors.',
      'lm/no-weights',
    );
  }
  return only === undefined ? null : join(directory, only);
}

const REMEDY = 'config.json and weights must be of one checkpoint.';

/**
 * The language model's tensors among all of a checkpoint, by name without prefix. Other parts (a vision tower) are
 * ignored; a tensor within the language model that its architecture does not have is refused, since it would have had
 * an effect.
 *
 * @param found all tensors of the checkpoint, by their name there
 * @param path where they come from, for messages
 * @throws Refusal if one is missing, unexpected, or of another shape or element type
 */
function languageModelTensors(
  found: ReadonlyMap<string, TensorLocation>,
  config: ModelConfig,
  path: string,
): Map<string, TensorLocation> {
  const { prefixes, anchor, elsewhere, blocks, derived } = config.names;
  const prefix = prefixes.find((p) => found.has(p + anchor)) ?? prefixes[0]!;
  const expected = config.tensors();
  const tensors = new Map<string, TensorLocation>();
  for (const [name, shape] of expected) {
    const outside = Object.hasOwn(elsewhere, name) ? elsewhere[name] : undefined;
    const full = outside ? outside.find((other) => found.has(other)) : prefix + name;
    const location = full === undefined ? undefined : found.get(full);
    if (!location) throw new Refusal(`${path} lacks the tensor ${name}.`, REMEDY, 'lm/no-tensor');
    if (location.shape.join() !== shape.join()) {
      throw new Refusal(
        `${path}: tensor ${full} has shape [${location.shape.join(', ')}] where config.json implies [${shape.join(', ')}].`,
        REMEDY,
        'lm/wrong-shape',
      );
    }
    if (!isWeightDType(location.dtype)) {
      throw new Refusal(
        `${path}: tensor ${full} is ${location.dtype}, which is not supported.`,
        'Use a checkpoint in BF16, F16 or F32; quantised ones are not supported.',
        'lm/wrong-dtype',
      );
    }
    tensors.set(name, location);
  }
  for (const full of found.keys()) {
    const inner = full.startsWith(prefix + blocks) && !expected.has(full.slice(prefix.length));
    if (inner && !derived.test(full)) {
      throw new Refusal(
        `${path} has a tensor ${full}, which this architecture does not have.`,
        REMEDY,
        'lm/unknown-tensor',
      );
    }
  }
  return tensors;
}

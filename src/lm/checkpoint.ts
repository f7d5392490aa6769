import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { exists } from '../disk/exists.js';
import { readJsonFile } from '../disk/json-file.js';
import { isWeightDType } from '../onnx/weight.js';
import { readSafetensorsHeader, type TensorLocation } from '../safetensors/header.js';
import { type GemmaConfig, parseGemmaConfig } from './gemma-config.js';

/** A Hugging Face checkpoint on disk: its configuration and where each tensor lies. No weight has been read. */
export interface Checkpoint {
  readonly directory: string;
  /** Last part of the directory's path; goes into manifests and SAE metadata. */
  readonly name: string;
  readonly config: GemmaConfig;
  /** Tensors by their Hugging Face names, without the leading `model.`. */
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  /** Identifies the weights wherever they lie; see `fingerprint`. */
  readonly fingerprint: string;
}

/**
 * Opens a checkpoint directory: config.json and model.safetensors.
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
  const weightsPath = join(directory, 'model.safetensors');
  const sharded = await exists(join(directory, 'model.safetensors.index.json'));
  if (sharded && !(await exists(weightsPath))) {
    throw new Refusal(
      `${path} is a sharded checkpoint, which is not supported yet.`,
      'Use a checkpoint with a single model.safetensors.',
    );
  }
  if (!(await exists(weightsPath))) {
    throw new Refusal(`${path} has no model.safetensors.`, 'Download the whole checkpoint.');
  }
  const header = await readSafetensorsHeader(weightsPath);
  const tensors = new Map([...header.tensors].map(([name, location]) => [name.replace(/^model\./, ''), location]));
  checkTensors(tensors, config, weightsPath);
  return {
    directory,
    name: modelName(directory),
    config,
    tensors,
    fingerprint: await fingerprint([weightsPath]),
  };
}

/** Shapes of every tensor a Gemma of this configuration has; matrices are [out, in]. */
export function expectedTensors(c: GemmaConfig): Map<string, readonly number[]> {
  const expected = new Map<string, readonly number[]>([
    ['embed_tokens.weight', [c.vocabulary, c.hidden]],
    ['norm.weight', [c.hidden]],
  ]);
  if (!c.tiedHead) expected.set('lm_head.weight', [c.vocabulary, c.hidden]);
  for (let layer = 0; layer < c.layers; layer++) {
    const block = `layers.${layer}`;
    expected.set(`${block}.input_layernorm.weight`, [c.hidden]);
    expected.set(`${block}.self_attn.q_proj.weight`, [c.heads * c.headDim, c.hidden]);
    expected.set(`${block}.self_attn.k_proj.weight`, [c.kvHeads * c.headDim, c.hidden]);
    expected.set(`${block}.self_attn.v_proj.weight`, [c.kvHeads * c.headDim, c.hidden]);
    expected.set(`${block}.self_attn.o_proj.weight`, [c.hidden, c.heads * c.headDim]);
    expected.set(`${block}.post_attention_layernorm.weight`, [c.hidden]);
    expected.set(`${block}.mlp.gate_proj.weight`, [c.mlp, c.hidden]);
    expected.set(`${block}.mlp.up_proj.weight`, [c.mlp, c.hidden]);
    expected.set(`${block}.mlp.down_proj.weight`, [c.hidden, c.mlp]);
  }
  return expected;
}

function checkTensors(tensors: ReadonlyMap<string, TensorLocation>, config: GemmaConfig, path: string): void {
  for (const [name, shape] of expectedTensors(config)) {
    const found = tensors.get(name);
    if (!found)
      throw new Refusal(`${path} lacks the tensor ${name}.`, 'config.json and weights must be of one checkpoint.');
    if (found.shape.join() !== shape.join()) {
      throw new Refusal(
        `${path}: tensor ${name} has shape [${found.shape.join(', ')}] where config.json implies [${shape.join(', ')}].`,
        'config.json and weights must be of one checkpoint.',
      );
    }
    if (!isWeightDType(found.dtype)) {
      throw new Refusal(`${path}: tensor ${name} is ${found.dtype}; supported are BF16, F16 and F32.`);
    }
  }
}

/**
 * Identity of weights: SHA-256 over each file's size, its first 64 KiB (the header) and 64 samples of 4 KiB spread
 * evenly over it. Reading 17 GB would take minutes; a fine-tune that differs nowhere in these samples does not occur.
 */
async function fingerprint(paths: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const path of paths) {
    const { size } = await stat(path);
    hash.update(`${size};`);
    const file = await open(path);
    try {
      const sample = Buffer.alloc(65536);
      const first = await file.read(sample, 0, sample.length, 0);
      hash.update(sample.subarray(0, first.bytesRead));
      for (let i = 0; i < 64; i++) {
        const { bytesRead } = await file.read(sample, 0, 4096, Math.floor((size * i) / 64));
        hash.update(sample.subarray(0, bytesRead));
      }
    } finally {
      await file.close();
    }
  }
  return hash.digest('hex');
}

/** Name of the model: org/name in a Hugging Face cache, whose directories are named by commit; else the directory's. */
function modelName(directory: string): string {
  const cached = /models--(.+?)--(.+?)\/snapshots\//.exec(`${directory}/`);
  return cached ? `${cached[1]}/${cached[2]}` : basename(directory);
}

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import type { Context } from '../../../../src/corpus/contexts.js';
import { openForwardPass } from '../../../../src/harvest/forward-pass.js';
import { type Checkpoint, openCheckpoint } from '../../../../src/lm/checkpoint.js';
import { findHook } from '../../../../src/lm/hooks.js';
import type { Generator } from '../../../../src/random/generator.js';
import { openRandomModel, writeCheckpoint } from '../../../lm/random-model.js';
import { linkOut } from '../canary.js';
import { oneIn, pick } from '../chance.js';
import { mutateJson } from '../json.js';
import { mutateSafetensors } from '../safetensors.js';
import { bytesOf, type Files, type Target } from '../target.js';

const CONTEXT = 8;
const INDEX = 'model.safetensors.index.json';
const prepare = (shards: number) => async (directory: string) => {
  await writeCheckpoint(directory, await openRandomModel('gemma2-mqa'), { shards });
};

/** Opens the model, and once in four times runs it: what a header says reaches ONNX Runtime as it is. */
async function read(directory: string, random: Generator): Promise<string> {
  const checkpoint = await openCheckpoint(directory);
  checkTensors(checkpoint);
  const { family: _, ...config } = checkpoint.config;
  if (oneIn(random, 4)) await runModel(checkpoint);
  const tensors = [...checkpoint.tensors].map(([name, { dtype, shape, offset }]) => [name, dtype, shape, offset]);
  return JSON.stringify([config, tensors]);
}

function checkTensors({ tensors }: Checkpoint): void {
  for (const [name, { path, dtype, shape, offset, length }] of tensors) {
    const bytes = { F32: 4, F16: 2, BF16: 2 }[dtype as 'F32'];
    assert.ok(bytes, `${name} is ${dtype}`);
    const count = shape.reduce((product, dim) => product * BigInt(dim), BigInt(bytes));
    assert.equal(BigInt(length), count, name);
    assert.ok(offset >= 8 && offset + length <= statSync(path).size, `${name} ends beyond the file`);
  }
}

async function runModel(checkpoint: Checkpoint): Promise<void> {
  const hook = findHook('blocks.1.hook_resid_post', checkpoint.config);
  const length = Math.min(CONTEXT, checkpoint.config.maxContext);
  const settings = { dtype: 'float32', device: 'cpu', precision: 'auto', threads: 1 } as const;
  const pass = await openForwardPass(checkpoint, [hook], length, settings);
  try {
    const tokens = Int32Array.from({ length }, (_, i) => (i === 0 ? 2 : 2 + i) % checkpoint.config.vocabulary);
    const context: Context = { index: 0, tokens, documents: new Uint32Array(length) };
    const { rows } = await pass.run([context], -1, length);
    assert.equal(rows[0]!.activation.length, length * hook.width);
    assert.ok((rows[0]!.activation as Float32Array).every(Number.isFinite));
  } finally {
    await pass.release();
  }
}

const weights: Target = {
  name: 'model weights',
  share: 3,
  module: import.meta.url,
  prepare: prepare(1),
  mutate(files, random, elsewhere) {
    files.set('model.safetensors', mutateSafetensors(bytesOf(files, 'model.safetensors'), random, elsewhere));
  },
  read,
  command: (directory, out) => doctor(directory, out),
};

const config: Target = {
  name: 'model config.json',
  share: 2,
  module: import.meta.url,
  prepare: prepare(1),
  mutate(files, random, elsewhere) {
    files.set('config.json', mutateJson(String(bytesOf(files, 'config.json')), random, elsewhere));
  },
  read,
  command: (directory, out) => doctor(directory, out),
};

const index: Target = {
  name: 'model index',
  share: 2,
  module: import.meta.url,
  prepare: prepare(3),
  mutate(files, random, elsewhere) {
    if (oneIn(random, 3)) return link(files, random, elsewhere);
    const json = JSON.parse(String(bytesOf(files, INDEX))) as { weight_map: Record<string, string> };
    const name = pick(random, Object.keys(json.weight_map));
    if (oneIn(random, 2)) {
      json.weight_map[name] = pick(random, [...elsewhere, 'config.json', '.', '..', '', 'a/../model.safetensors']);
    }
    const text = JSON.stringify(json);
    files.set(INDEX, oneIn(random, 2) ? Buffer.from(text) : mutateJson(text, random, elsewhere));
  },
  read,
  command: (directory, out) => doctor(directory, out),
};

/** Puts a symbolic link in the place of a file: to another file of the directory, or out of it. */
function link(files: Files, random: Generator, elsewhere: readonly string[]): void {
  const names = [...files.keys()];
  const to = oneIn(random, 4) ? { link: pick(random, names) } : linkOut(random, elsewhere);
  files.set(pick(random, names), to);
}

const doctor = (directory: string, out: string) => ({
  args: ['doctor', '--model', directory, '--hook', 'blocks.1.hook_resid_post', '--context', '8', '--out', out],
});

export const MODELS = [weights, config, index];

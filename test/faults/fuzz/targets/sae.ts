import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { GraphBuilder } from '../../../../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../../../../src/onnx/session.js';
import { asFloat32, storedWeight } from '../../../../src/onnx/weight.js';
import type { Generator } from '../../../../src/random/generator.js';
import { canConvert, convert } from '../../../../src/sae/convert.js';
import { forward } from '../../../../src/sae/forward-graph.js';
import { PARAMETERS } from '../../../../src/sae/registry.js';
import { openSae, readSae, type SaeFiles, saveSae } from '../../../../src/sae/saelens.js';
import { randomSae } from '../../../sae/random-sae.js';
import { linkOut } from '../canary.js';
import { oneIn, pick } from '../chance.js';
import { mutateJson } from '../json.js';
import { mutateSafetensors } from '../safetensors.js';
import { bytesOf, type Target } from '../target.js';

const KINDS = ['gated', 'standard', 'jumprelu', 'topk'] as const;
const CFG = 'cfg.json';
const WEIGHTS = 'sae_weights.safetensors';
const [D_IN, D_SAE] = [6, 20];

export const sae: Target = {
  name: 'SAE',
  share: 3,
  module: import.meta.url,
  async prepare(directory) {
    for (const kind of KINDS) {
      mkdirSync(join(directory, kind));
      const metadata = {
        model_name: 'm',
        hook_name: 'blocks.0.hook_resid_post',
        context_size: 16,
        sae_pipe: { l1: 1 },
      };
      await saveSae(join(directory, kind), randomSae(kind, D_IN, D_SAE, 3), metadata);
    }
  },
  mutate(files, random, elsewhere) {
    const kind = pick(random, KINDS);
    const name = `${kind}/${pick(random, [CFG, WEIGHTS])}`;
    const bytes = bytesOf(files, name);
    if (oneIn(random, 12)) files.set(name, linkOut(random, elsewhere));
    else if (name.endsWith(CFG)) files.set(name, mutateJson(old(String(bytes), random), random, elsewhere));
    else files.set(name, mutateSafetensors(bytes, random, elsewhere));
  },
  async read(directory, random) {
    const results = [];
    for (const kind of KINDS) results.push(await readOne(join(directory, kind), random));
    return JSON.stringify(results);
  },
  command: (directory, out) => ({
    args: ['export', '--sae', join(directory, 'gated'), '--as', 'jumprelu', '--out', out],
  }),
};

async function readOne(directory: string, random: Generator): Promise<unknown> {
  const files = await openSae(directory);
  const read = await readSae(files);
  assert.deepEqual(Object.keys(read.parameters), [...PARAMETERS[read.architecture]]);
  assert.equal(read.parameters.W_dec!.length, read.dIn * read.dSae);
  if (canConvert(read.architecture, 'jumprelu')) convert(read, 'jumprelu');
  if (oneIn(random, 16)) {
    const xHat = await runFrom(files);
    assert.equal(xHat.length, 2 * read.dIn);
  }
  const { metadata, forward } = files;
  return [read.architecture, forward, metadata, [...read.parameters.W_enc!.subarray(0, 8)]];
}

/** x̂ of two rows of ones, by a graph that takes the weights from the file, as `eval` does. */
async function runFrom({ tensors, dIn, ...sae }: SaeFiles): Promise<Float32Array> {
  const g = new GraphBuilder('forward');
  const x = g.input('x', 'float32', [2, dIn]);
  const w = Object.fromEntries(
    PARAMETERS[sae.architecture].map((name) => {
      const location = tensors[name]!;
      return [name, asFloat32(g, storedWeight(g, name, location), location)];
    }),
  );
  g.output('reconstruction', forward(g, sae, w, x).xHat, 'float32', [2, dIn]);
  const session = await openSession(g.encode(), { threads: 1 });
  const { Tensor } = await onnxRuntime();
  const outputs = await session.run({ x: new Tensor('float32', new Float32Array(2 * dIn).fill(1), [2, dIn]) });
  await session.release();
  return outputs.reconstruction!.data as Float32Array;
}

/** Sometimes a cfg.json from before SAELens 6, which has another reader. */
function old(text: string, random: Generator): string {
  if (!oneIn(random, 3)) return text;
  const { metadata, ...cfg } = JSON.parse(text) as Record<string, Record<string, unknown>>;
  const { sae_lens_version: _, ...rest } = metadata!;
  return JSON.stringify({ ...cfg, ...rest, activation_fn_str: 'relu', normalize_activations: false });
}

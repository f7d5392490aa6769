import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { readFloats } from '../../src/safetensors/floats.js';
import { relativeDifference } from '../golden.js';
import { temporaryDirectory } from '../temporary.js';
import { openRandomModel, writeCheckpoint } from './random-model.js';
import { runDirectLogits } from './run-model.js';

const DIRECTIONS = 3;

/** Names of what lies between a block and the logits; GPT-2's matrices are [in, out]. */
const PARTS = {
  'neox-parallel': { block: 'layers.1', z: 'attention.dense', post: 'mlp.dense_4h_to_h', norm: 'final_layer_norm' },
  'gpt2-scaled': { block: 'h.1', z: 'attn.c_proj', post: 'mlp.c_proj', norm: 'ln_f' },
} as const;

/** x [n, in] times a matrix [out, in], or [in, out]. */
function times(x: Float32Array, matrix: Float32Array, width: number, columns = false): Float32Array {
  const out = matrix.length / width;
  return Float32Array.from({ length: (x.length / width) * out }, (_, at) => {
    const [i, o] = [Math.floor(at / out), at % out];
    let sum = 0;
    for (let d = 0; d < width; d++) sum += x[i * width + d]! * matrix[columns ? d * out + o : o * width + d]!;
    return sum;
  });
}

function centred(x: Float32Array, width: number): Float32Array {
  return x.map((value, at) => {
    const row = x.subarray(at - (at % width), at - (at % width) + width);
    return value - row.reduce((sum, entry) => sum + entry, 0) / width;
  });
}

for (const model of ['neox-parallel', 'gpt2-scaled'] as const) {
  test(`${model}: directions are centred, weighted and unembedded`, async (t) => {
    const random = await openRandomModel(model);
    const checkpoint = await openCheckpoint(await writeCheckpoint(temporaryDirectory(t), random));
    const { hidden } = checkpoint.config;
    const { block, z, post, norm } = PARTS[model];
    const weight = async (name: string) => readFloats(checkpoint.tensors.get(`${name}.weight`)!);
    const [w, head] = [await weight(norm), await weight(model === 'neox-parallel' ? 'embed_out' : 'lm_head')];
    const logits = (x: Float32Array) =>
      times(
        x.map((value, at) => value * w[at % hidden]!),
        head,
        hidden,
      );
    for (const { name, site, layer, width } of checkpoint.config.hooks) {
      if (layer !== 1 && name !== site) continue;
      const some = Float32Array.from({ length: DIRECTIONS * width }, (_, i) => Math.sin(1 + 7 * i) * (1 + (i % 3)));
      const found = await runDirectLogits(checkpoint, name, some);
      const through = async (matrix: string) =>
        logits(centred(times(some, await weight(`${block}.${matrix}`), width, model === 'gpt2-scaled'), hidden));
      const expected = site.startsWith('hook_')
        ? logits(centred(some, hidden))
        : { 'attn.hook_z': await through(z), 'mlp.hook_post': await through(post) }[site as 'attn.hook_z'];
      if (site === 'ln_final.hook_normalized') assert.ok(relativeDifference(found!, logits(some)) < 1e-4, name);
      else if (expected === undefined) assert.equal(found, null, name);
      else assert.ok(relativeDifference(found!, expected) < 1e-4, name);
    }
  });
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { findHook } from '../../src/lm/hooks.js';
import { readFloats } from '../../src/safetensors/floats.js';
import { relativeDifference } from '../golden.js';
import { temporaryDirectory } from '../temporary.js';
import { openRandomModel, writeCheckpoint } from './random-model.js';
import { runDirectLogits } from './run-model.js';

const DIRECTIONS = 3;

/** x [n, in] times a matrix [out, in]. */
function times(x: Float32Array, matrix: Float32Array, width: number): Float32Array {
  const out = matrix.length / width;
  return Float32Array.from({ length: (x.length / width) * out }, (_, at) => {
    const [i, o] = [Math.floor(at / out), at % out];
    let sum = 0;
    for (let d = 0; d < width; d++) sum += x[i * width + d]! * matrix[o * width + d]!;
    return sum;
  });
}

for (const model of ['gemma-mqa', 'gemma2-gqa', 'gemma3-gqa', 'llama-gqa', 'qwen3-biased'] as const) {
  test(`${model}: directions reach the logits through the linear parts of the way`, async (t) => {
    const random = await openRandomModel(model);
    const checkpoint = await openCheckpoint(await writeCheckpoint(temporaryDirectory(t), random));
    const { hidden } = checkpoint.config;
    const weight = async (name: string) => readFloats(checkpoint.tensors.get(name)!);
    const normed = async (x: Float32Array, name: string) => {
      const w = await weight(name);
      const offset = model.startsWith('gemma') ? 1 : 0;
      return x.map((value, at) => value * (offset + w[at % hidden]!));
    };
    const head = checkpoint.tensors.has('lm_head.weight') ? 'lm_head.weight' : 'embed_tokens.weight';
    const unembedded = async (x: Float32Array) => times(await normed(x, 'norm.weight'), await weight(head), hidden);
    const post = (x: Float32Array, name: string) =>
      checkpoint.tensors.has('layers.1.post_feedforward_layernorm.weight') ? normed(x, `layers.1.${name}.weight`) : x;

    const some = (width: number) =>
      Float32Array.from({ length: DIRECTIONS * width }, (_, i) => Math.sin(1 + 7 * i) * (1 + (i % 3)));
    const widthOf = (site: string) => findHook(`blocks.1.${site}`, checkpoint.config).width;
    // Those outside the blocks, too.
    const residual = ['hook_embed', 'hook_resid_pre', 'hook_resid_mid', 'hook_resid_post', 'ln_final.hook_normalized'];
    const expected: Record<string, Float32Array> = {};
    for (const site of [...residual, 'hook_attn_out', 'hook_mlp_out']) {
      expected[site] = await unembedded(some(hidden));
    }
    for (const [site, matrix, norm] of [
      ['attn.hook_z', 'self_attn.o_proj', 'post_attention_layernorm'],
      ['mlp.hook_post', 'mlp.down_proj', 'post_feedforward_layernorm'],
    ] as const) {
      const width = widthOf(site);
      const out = times(some(width), await weight(`layers.1.${matrix}.weight`), width);
      expected[site] = await unembedded(await post(out, norm));
    }
    for (const { name, site, layer, width } of checkpoint.config.hooks) {
      if (layer !== 1 && name !== site) continue;
      const found = await runDirectLogits(checkpoint, name, some(width));
      if (expected[site] === undefined) assert.equal(found, null, name);
      else assert.ok(relativeDifference(found!, expected[site]) < 1e-4, name);
    }
  });
}

import { Refusal } from '../config/refusal.js';
import { isWeightDType } from '../onnx/weight.js';
import type { TensorLocation } from '../safetensors/header.js';
import type { GemmaConfig } from './gemma-config.js';

/**
 * What stands before the language model's tensor names, over the years: the causal models, the image-and-text models
 * saved since transformers 4.52 and before, and bare language models.
 */
const PREFIXES = ['model.', 'model.language_model.', 'language_model.model.', 'language_model.', ''];
const HEADS = ['lm_head.weight', 'language_model.lm_head.weight', 'model.lm_head.weight'];

/** Tables that old checkpoints carry along; they follow from config.json. */
const DERIVED = /\.rotary_emb\.inv_freq$/;

const REMEDY = 'config.json and weights must be of one checkpoint.';

/** Shapes of every tensor a Gemma of this configuration has, by name without prefix; matrices are [out, in]. */
export function expectedTensors(c: GemmaConfig): Map<string, readonly number[]> {
  const expected = new Map<string, readonly number[]>([
    ['embed_tokens.weight', [c.vocabulary, c.hidden]],
    ['norm.weight', [c.hidden]],
  ]);
  if (!c.tiedHead) expected.set('lm_head.weight', [c.vocabulary, c.hidden]);
  for (let layer = 0; layer < c.layers; layer++) {
    const set = (name: string, ...shape: number[]) => expected.set(`layers.${layer}.${name}.weight`, shape);
    set('input_layernorm', c.hidden);
    set('self_attn.q_proj', c.heads * c.headDim, c.hidden);
    set('self_attn.k_proj', c.kvHeads * c.headDim, c.hidden);
    set('self_attn.v_proj', c.kvHeads * c.headDim, c.hidden);
    set('self_attn.o_proj', c.hidden, c.heads * c.headDim);
    if (c.family.qkNorms) {
      set('self_attn.q_norm', c.headDim);
      set('self_attn.k_norm', c.headDim);
    }
    set('post_attention_layernorm', c.hidden);
    if (c.family.postNorms) {
      set('pre_feedforward_layernorm', c.hidden);
      set('post_feedforward_layernorm', c.hidden);
    }
    set('mlp.gate_proj', c.mlp, c.hidden);
    set('mlp.up_proj', c.mlp, c.hidden);
    set('mlp.down_proj', c.hidden, c.mlp);
  }
  return expected;
}

/**
 * The language model's tensors among all of a checkpoint, by name without prefix. Other parts (a vision tower) are left
 * out; a tensor within the language model that its architecture does not have is refused: it would have done something.
 *
 * @param found every tensor of the checkpoint, by its name there
 * @param path where they come from, for messages
 * @throws Refusal when one is missing, unexpected, or of another shape or element type
 */
export function languageModelTensors(
  found: ReadonlyMap<string, TensorLocation>,
  config: GemmaConfig,
  path: string,
): Map<string, TensorLocation> {
  const prefix = PREFIXES.find((p) => found.has(`${p}embed_tokens.weight`)) ?? PREFIXES[0]!;
  const head = HEADS.find((name) => found.has(name));
  const expected = expectedTensors(config);
  const tensors = new Map<string, TensorLocation>();
  for (const [name, shape] of expected) {
    const full = name === 'lm_head.weight' ? head : prefix + name;
    const location = full === undefined ? undefined : found.get(full);
    if (!location) throw new Refusal(`${path} lacks the tensor ${name}.`, REMEDY);
    if (location.shape.join() !== shape.join()) {
      throw new Refusal(
        `${path}: tensor ${full} has shape [${location.shape.join(', ')}] where config.json implies [${shape.join(', ')}].`,
        REMEDY,
      );
    }
    if (!isWeightDType(location.dtype)) {
      throw new Refusal(
        `${path}: tensor ${full} is ${location.dtype}, which is not supported.`,
        'Use a checkpoint in BF16, F16 or F32; quantised ones are not supported.',
      );
    }
    tensors.set(name, location);
  }
  for (const full of found.keys()) {
    const inner = full.startsWith(`${prefix}layers.`) && !expected.has(full.slice(prefix.length));
    if (inner && !DERIVED.test(full)) {
      throw new Refusal(`${path} has a tensor ${full}, which this architecture does not have.`, REMEDY);
    }
  }
  return tensors;
}

import { DECODER_NAMES } from './decoder.js';
import type { ModelConfig } from './family.js';
import { type Rope, ropeShape } from './rope.js';

// The parts of Gemma 4 according to its config.json: sizes of each layer, hook points, and tensors.

/** Settings that differ between layers of Gemma 4. */
export interface Gemma4Layer {
  readonly headDim: number;
  readonly kvHeads: number;
  /** Attention window including the current token; null: full causal attention. */
  readonly window: number | null;
  readonly rope: Rope;
  /** The layer whose keys and values it reuses; null: it has its own. */
  readonly keysOf: number | null;
  /** Values are the keys before their norm and rotation. */
  readonly valuesAreKeys: boolean;
  readonly mlp: number;
}

/** Settings of config.json that determine the graph, in one notation. */
export interface Gemma4Numbers {
  readonly layers: readonly Gemma4Layer[];
  readonly hidden: number;
  readonly heads: number;
  readonly vocabulary: number;
  readonly maxContext: number;
  readonly rmsNormEps: number;
  readonly logitSoftcap: number | null;
  /** Width of the per-layer embeddings; 0: none. */
  readonly perLayer: number;
  readonly tiedHead: boolean;
  readonly bosTokenId: number;
  readonly special: ModelConfig['special'];
}

/** Widths at the sites of a layer. */
export function gemma4Widths(
  { hidden, heads }: Gemma4Numbers,
  { headDim, kvHeads, keysOf, valuesAreKeys, mlp }: Gemma4Layer,
) {
  const keys = kvHeads * headDim;
  return {
    hook_resid_pre: hidden,
    'ln1.hook_normalized': hidden,
    'attn.hook_q': heads * headDim,
    ...(keysOf === null ? { 'attn.hook_k': keys } : {}),
    ...(keysOf === null && !valuesAreKeys ? { 'attn.hook_v': keys } : {}),
    'attn.hook_z': heads * headDim,
    hook_attn_out: hidden,
    hook_resid_mid: hidden,
    'ln2.hook_normalized': hidden,
    'mlp.hook_in': hidden,
    'mlp.hook_pre': mlp,
    'mlp.hook_pre_linear': mlp,
    'mlp.hook_post': mlp,
    hook_mlp_out: hidden,
    hook_resid_post: hidden,
  };
}

/** The settings that affect the model's output, in a fixed order. */
export function gemma4Shape(c: Gemma4Numbers): string {
  const constants = [c.rmsNormEps, c.logitSoftcap, c.perLayer, c.tiedHead, c.bosTokenId];
  const layers = c.layers.map((l) => [
    l.headDim,
    l.kvHeads,
    l.window,
    l.keysOf,
    l.valuesAreKeys,
    l.mlp,
    ropeShape(l.rope),
  ]);
  return JSON.stringify(['Gemma 4', [c.hidden, c.heads, c.vocabulary], constants, layers]);
}

/** Files may include keys and values of layers that reuse those of another. */
export function gemma4Names({ layers }: Gemma4Numbers) {
  const shared = layers.flatMap(({ keysOf }, layer) => (keysOf === null ? [] : [layer]));
  if (shared.length === 0) return DECODER_NAMES;
  const unused = `layers\\.(${shared.join('|')})\\.self_attn\\.(k_proj|v_proj|k_norm|v_norm)\\.`;
  return { ...DECODER_NAMES, derived: new RegExp(`${DECODER_NAMES.derived.source}|${unused}`) };
}

/** Matrices are [out, in]. */
export function gemma4Tensors(c: Gemma4Numbers): Map<string, readonly number[]> {
  const { hidden, heads, perLayer } = c;
  const tensors = new Map<string, readonly number[]>([
    ['embed_tokens.weight', [c.vocabulary, hidden]],
    ['norm.weight', [hidden]],
  ]);
  if (!c.tiedHead) tensors.set('lm_head.weight', [c.vocabulary, hidden]);
  if (perLayer > 0) {
    const all = c.layers.length * perLayer;
    tensors.set('embed_tokens_per_layer.weight', [c.vocabulary, all]);
    tensors.set('per_layer_model_projection.weight', [all, hidden]);
    tensors.set('per_layer_projection_norm.weight', [perLayer]);
  }
  for (const [i, { headDim, kvHeads, keysOf, valuesAreKeys, mlp }] of c.layers.entries()) {
    const set = (name: string, ...shape: number[]) => tensors.set(`layers.${i}.${name}.weight`, shape);
    for (const norm of ['input', 'post_attention', 'pre_feedforward', 'post_feedforward'])
      set(`${norm}_layernorm`, hidden);
    set('self_attn.q_proj', heads * headDim, hidden);
    set('self_attn.q_norm', headDim);
    set('self_attn.o_proj', hidden, heads * headDim);
    if (keysOf === null) {
      set('self_attn.k_proj', kvHeads * headDim, hidden);
      set('self_attn.k_norm', headDim);
      if (!valuesAreKeys) set('self_attn.v_proj', kvHeads * headDim, hidden);
    }
    set('mlp.gate_proj', mlp, hidden);
    set('mlp.up_proj', mlp, hidden);
    set('mlp.down_proj', hidden, mlp);
    if (perLayer > 0) {
      set('per_layer_input_gate', perLayer, hidden);
      set('per_layer_projection', hidden, perLayer);
      set('post_per_layer_input_norm', hidden);
    }
    tensors.set(`layers.${i}.layer_scalar`, [1]);
  }
  return tensors;
}

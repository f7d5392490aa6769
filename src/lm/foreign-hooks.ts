import { nearest } from '../config/nearest.js';

/**
 * Sites by other names: TransformerLens's short names and those of its bridge (3 and later), Hugging Face's modules,
 * dictionary_learning's. What a module gives is meant; `o_proj` and `down_proj` are projections onto the residual stream.
 */
const SITES: Readonly<Record<string, string>> = {
  ...{ resid_pre: 'hook_resid_pre', hook_in: 'hook_resid_pre', input_layernorm: 'hook_resid_pre' },
  ...{ resid_mid: 'hook_resid_mid', resid_post: 'hook_resid_post', hook_out: 'hook_resid_post', '': 'hook_resid_post' },
  ...{ z: 'attn.hook_z', hook_z: 'attn.hook_z', 'self_attn.hook_z': 'attn.hook_z' },
  ...{
    attn_out: 'hook_attn_out',
    'attn.hook_out': 'hook_attn_out',
    'attn.out': 'hook_attn_out',
    attn: 'hook_attn_out',
  },
  ...{ 'attn.hook_attn_out': 'hook_attn_out', self_attn: 'hook_attn_out', 'self_attn.o_proj': 'hook_attn_out' },
  ...{ 'attn.o.hook_in': 'attn.hook_z', post_attention_layernorm: 'hook_attn_out', attention: 'hook_attn_out' },
  ...{ mlp_out: 'hook_mlp_out', 'mlp.hook_out': 'hook_mlp_out', 'mlp.out': 'hook_mlp_out', mlp: 'hook_mlp_out' },
  ...{ 'mlp.hook_mlp_out': 'hook_mlp_out', post_feedforward_layernorm: 'hook_mlp_out' },
  ...{ 'mlp.down_proj': 'hook_mlp_out', 'mlp.gate_proj': 'mlp.hook_pre', 'mlp.up_proj': 'mlp.hook_pre_linear' },
  ...{ pre: 'mlp.hook_pre', hook_pre: 'mlp.hook_pre', mlp_pre: 'mlp.hook_pre', 'mlp.gate.hook_out': 'mlp.hook_pre' },
  ...{
    pre_linear: 'mlp.hook_pre_linear',
    hook_pre_linear: 'mlp.hook_pre_linear',
    'mlp.in.hook_out': 'mlp.hook_pre_linear',
  },
  ...{
    post: 'mlp.hook_post',
    hook_post: 'mlp.hook_post',
    mlp_post: 'mlp.hook_post',
    'mlp.out.hook_in': 'mlp.hook_post',
  },
};

/** Where blocks of a model are counted: `blocks.3.`, `model.layers.3.`, `transformer.h.3.`, `3.` */
const BLOCK = /^(?:[a-z_]+\.)*?(?:blocks?|layers?|h)[._]?(\d+)(?:\.|$)|^(\d+)\./i;
/** `resid_post_layer_8` (dictionary_learning), `resid_post8` and `mlp_post_8` (TransformerLens's get_act_name). */
const AT_END = /^(.*?[a-z])(?:_?layer)?_?(\d+)$/i;

/** What a name that is not one of ours probably stands for. */
export interface Meant {
  /** The block it names, if any; may be one that the model does not have. */
  readonly layer: number | undefined;
  readonly site: string | undefined;
}

/** @param sites those there are */
export function hookMeant(name: string, sites: readonly string[]): Meant {
  const block = BLOCK.exec(name);
  const end = block ? null : AT_END.exec(name);
  const layer = block?.[1] ?? block?.[2] ?? end?.[2];
  const rest = block ? name.slice(block[0].length) : (end?.[1] ?? name.replace(/^blocks?\./, ''));
  const foreign = Object.hasOwn(SITES, rest) && (rest !== '' || block !== null) ? SITES[rest] : undefined;
  const site = sites.includes(rest) ? rest : (foreign ?? nearest(rest, sites, 1)[0]);
  return { layer: layer === undefined ? undefined : Number(layer), site };
}

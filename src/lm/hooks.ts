import { nearest } from '../errors/nearest.js';
import { Refusal } from '../errors/refusal.js';
import type { Value } from '../onnx/graph.js';

/**
 * Hook points of a block under TransformerLens's names. Values are the raw ones of the Hugging Face model (nothing
 * folded), with a flat last dimension. A family has those that its blocks compute.
 */
export type HookSite =
  /** The token embeddings as they enter the residual stream, without positional embeddings. */
  | 'hook_embed'
  /** Residual stream before the block. */
  | 'hook_resid_pre'
  /** Output of the norm before attention, without its weight and bias. */
  | 'ln1.hook_normalized'
  /** Queries after the projection, before any norm and rotation; heads concatenated. */
  | 'attn.hook_q'
  /** Keys, likewise. */
  | 'attn.hook_k'
  /** Values, likewise. */
  | 'attn.hook_v'
  /** Attention's output per head, before W_O. */
  | 'attn.hook_z'
  /** Attention's contribution to the residual stream. */
  | 'hook_attn_out'
  /** Residual stream between attention and MLP. */
  | 'hook_resid_mid'
  /** Output of the norm before the MLP, without its weight and bias: x / √(mean x² + ε) for an RMS norm. */
  | 'ln2.hook_normalized'
  /** Input of the MLP: the same, including the norm's weight and bias. */
  | 'mlp.hook_in'
  /** Input of the MLP's activation function: for a gated MLP, its gate. */
  | 'mlp.hook_pre'
  /** A gated MLP's linear (up) branch. */
  | 'mlp.hook_pre_linear'
  /** Input of the MLP's last projection: for a gated MLP, act(gate) · up. */
  | 'mlp.hook_post'
  /** The MLP's contribution to the residual stream. */
  | 'hook_mlp_out'
  /** Residual stream after the block. */
  | 'hook_resid_post'
  /** Output of the norm before the unembedding, without its weight and bias. */
  | 'ln_final.hook_normalized';

/** Sites outside the blocks, which occur once; their names are their sites. */
type OuterSite = Extract<HookSite, 'hook_embed' | 'ln_final.hook_normalized'>;
type SiteOfBlock = Exclude<HookSite, OuterSite>;

/**
 * Sites in the space of the residual stream: its values, what is added to it, and the output of its last norm, from
 * which the path to the logits is the same.
 */
const ON_RESIDUAL: readonly HookSite[] = [
  ...(['hook_embed', 'hook_resid_pre', 'hook_attn_out', 'hook_resid_mid'] as const),
  ...(['hook_mlp_out', 'hook_resid_post', 'ln_final.hook_normalized'] as const),
];

/** Is a direction at the site one of the residual stream? */
export const isOnResidual = (site: HookSite): boolean => ON_RESIDUAL.includes(site);

export interface Hook {
  /** Full name, `blocks.L.site`; outside the blocks, just the site. */
  readonly name: string;
  /** Its block; outside the blocks, the adjacent one. */
  readonly layer: number;
  readonly site: HookSite;
  /** Size of the last dimension, d_in of an SAE here. */
  readonly width: number;
}

/**
 * Called at every hook point with its value [..., width] in float32; the returned value replaces it. It may record the
 * value (harvest), or return one with an additional leading dimension of variants (splice-in): later operations
 * broadcast over that dimension, and the end of the block folds it into the batch.
 */
export interface HookFunction {
  (name: string, value: Value): Value;
  /** The only hook points it acts on; any if absent. Values needed only for other hook points are not computed. */
  readonly only?: ReadonlySet<string>;
}

/** A hook function that acts only on these hook points; other values are unchanged. */
export function hookAt(names: Iterable<string>, hook: HookFunction): HookFunction {
  const only = new Set(names);
  return Object.assign((name: string, value: Value) => (only.has(name) ? hook(name, value) : value), { only });
}

/** Full name of a hook point. */
export function hookName(layer: number, site: HookSite): string {
  return `blocks.${layer}.${site}`;
}

/** Acts on no hook point. */
export const noHook: HookFunction = hookAt([], (_, value) => value);

/** The hook function within one block, where hook points are identified by site. */
export interface HookOfBlock {
  (site: HookSite, value: Value): Value;
  /** Does it act on the site? */
  readonly actsOn: (site: HookSite) => boolean;
}

export function hookOfBlock(layer: number, hook: HookFunction): HookOfBlock {
  const { only } = hook;
  return Object.assign((site: HookSite, value: Value) => hook(hookName(layer, site), value), {
    actsOn: (site: HookSite) => only === undefined || only.has(hookName(layer, site)),
  });
}

/** The hook function for hook points outside the blocks. */
export function hookOutside(hook: HookFunction): HookOfBlock {
  return Object.assign((site: HookSite, value: Value) => hook(site, value), {
    actsOn: (site: HookSite) => hook.only === undefined || hook.only.has(site),
  });
}

/**
 * All hook points of a model, in order of computation.
 *
 * @param hidden width of the residual stream
 * @param widths of a block's sites, in order of computation
 */
export function hooksOfModel(
  { layers, hidden }: { readonly layers: number; readonly hidden: number },
  widths: (layer: number) => Readonly<Partial<Record<SiteOfBlock, number>>>,
): Hook[] {
  const outside = (site: OuterSite, layer: number): Hook => ({ name: site, layer, site, width: hidden });
  const blocks = Array.from({ length: layers }, (_, layer) =>
    (Object.entries(widths(layer)) as [SiteOfBlock, number][]).map(([site, width]) => {
      return { name: hookName(layer, site), layer, site, width };
    }),
  );
  return [outside('hook_embed', 0), ...blocks.flat(), outside('ln_final.hook_normalized', layers - 1)];
}

/**
 * The hook with a name.
 *
 * @throws Refusal suggesting the hook probably meant, and listing every site
 */
export function findHook(name: string, { hooks }: { readonly hooks: readonly Hook[] }): Hook {
  return findHookAmong(name, hooks);
}

/** The same among the hooks of a model. */
export function findHookAmong(name: string, hooks: readonly Hook[]): Hook {
  const hook = hooks.find((candidate) => candidate.name === name);
  if (hook) return hook;
  const outside = hooks.filter(({ name, site }) => name === site).map(({ site }) => site);
  const sites = [...new Set(hooks.map(({ site }) => site))].filter((site) => !outside.includes(site));
  const last = hooks.at(-1)!.layer;
  const others = outside.length === 0 ? '' : `; outside the blocks: ${outside.join(' and ')}`;
  throw new Refusal(
    `The model has no hook "${name}"; it has ${last + 1} layers (blocks.0 to blocks.${last}).`,
    `${meantHook(name, sites, last)}A hook is blocks.LAYER.SITE, the site one of ${sites.join(', ')}${others}.`,
    'lm/no-hook',
  );
}

/** The hook probably meant, as a question; empty if none is similar. */
function meantHook(name: string, sites: readonly HookSite[], last: number): string {
  const { layer, site } = hookMeant(name, sites);
  if (site === undefined) return Object.hasOwn(OUTSIDE, name) ? `Did you mean ${OUTSIDE[name]}? ` : '';
  // Without a valid layer, only the user knows which one is meant.
  const known = layer !== undefined && layer <= last;
  return known ? `Did you mean blocks.${layer}.${site}? ` : `Did you mean blocks.LAYER.${site}, LAYER 0 to ${last}? `;
}

/**
 * Alternative names of sites: TransformerLens's short names and those of its bridge (3 and later), Hugging Face's
 * modules, dictionary_learning's. A module stands for its output; `o_proj` and `down_proj` are projections onto the
 * residual stream.
 */
const SITES: Readonly<Record<string, string>> = {
  ...{ resid_pre: 'hook_resid_pre', hook_in: 'hook_resid_pre', input_layernorm: 'hook_resid_pre' },
  ...{ resid_mid: 'hook_resid_mid', resid_post: 'hook_resid_post', hook_out: 'hook_resid_post', '': 'hook_resid_post' },
  ...{ q: 'attn.hook_q', hook_q: 'attn.hook_q', 'attn.q.hook_out': 'attn.hook_q', 'self_attn.q_proj': 'attn.hook_q' },
  ...{ k: 'attn.hook_k', hook_k: 'attn.hook_k', 'attn.k.hook_out': 'attn.hook_k', 'self_attn.k_proj': 'attn.hook_k' },
  ...{ v: 'attn.hook_v', hook_v: 'attn.hook_v', 'attn.v.hook_out': 'attn.hook_v', 'self_attn.v_proj': 'attn.hook_v' },
  ...{ ln1: 'ln1.hook_normalized', 'attention.dense': 'hook_attn_out', 'mlp.dense_4h_to_h': 'hook_mlp_out' },
  ...{ 'attn.c_proj': 'hook_attn_out', 'mlp.c_proj': 'hook_mlp_out', 'mlp.c_fc': 'mlp.hook_pre' },
  ...{ 'mlp.dense_h_to_4h': 'mlp.hook_pre' },
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
  ...{ mlp_in: 'mlp.hook_in', 'mlp.in': 'mlp.hook_in', 'mlp.in.hook_in': 'mlp.hook_in', 'ln2.hook_out': 'mlp.hook_in' },
  ...{ pre_feedforward_layernorm: 'mlp.hook_in', ln2: 'ln2.hook_normalized', hook_normalized: 'ln2.hook_normalized' },
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

/** Alternative names of hook points outside the blocks. */
const OUTSIDE: Readonly<Record<string, OuterSite>> = {
  ...{ embed: 'hook_embed', 'embed.hook_out': 'hook_embed', 'model.embed_tokens': 'hook_embed' },
  ...{ 'transformer.wte': 'hook_embed', 'gpt_neox.embed_in': 'hook_embed' },
  ln_final: 'ln_final.hook_normalized',
};

/** Prefixes that number a model's blocks: `blocks.3.`, `model.layers.3.`, `transformer.h.3.`, `3.` */
const BLOCK = /^(?:[a-z_]+\.)*?(?:blocks?|layers?|h)[._]?(\d+)(?:\.|$)|^(\d+)\./i;
/** `resid_post_layer_8` (dictionary_learning), `resid_post8` and `mlp_post_8` (TransformerLens's get_act_name). */
const AT_END = /^(.*?[a-z])(?:_?layer)?_?(\d+)$/i;

/** What an unknown name probably stands for. */
interface Meant {
  /** Its block, if any; may not exist in the model. */
  readonly layer: number | undefined;
  readonly site: string | undefined;
}

/** @param sites existing ones */
function hookMeant(name: string, sites: readonly string[]): Meant {
  const block = BLOCK.exec(name);
  const end = block ? null : AT_END.exec(name);
  const layer = block?.[1] ?? block?.[2] ?? end?.[2];
  const rest = block ? name.slice(block[0].length) : (end?.[1] ?? name.replace(/^blocks?\./, ''));
  const foreign = Object.hasOwn(SITES, rest) && (rest !== '' || block !== null) ? SITES[rest] : undefined;
  const site = sites.includes(rest) ? rest : (foreign ?? nearest(rest, sites, 1)[0]);
  return { layer: layer === undefined ? undefined : Number(layer), site };
}

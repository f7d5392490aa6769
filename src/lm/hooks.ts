import { nearest } from '../errors/nearest.js';
import { Refusal } from '../errors/refusal.js';
import type { Value } from '../onnx/graph.js';

/**
 * Hook points of a block by TransformerLens's names. Values are the raw ones of the Hugging Face model (nothing folded),
 * with a flat last dimension. A family has those of them that its blocks compute.
 */
export type HookSite =
  /** The tokens' embeddings as they enter the residual stream, without those of positions. */
  | 'hook_embed'
  /** Residual stream before the block. */
  | 'hook_resid_pre'
  /** The residual stream as the norm before attention gives it without its weight and bias. */
  | 'ln1.hook_normalized'
  /** Queries as they are projected, before any norm and rotation; heads one after another. */
  | 'attn.hook_q'
  /** Keys, the same. */
  | 'attn.hook_k'
  /** Values, the same. */
  | 'attn.hook_v'
  /** Attention's output by head, before W_O. */
  | 'attn.hook_z'
  /** What attention adds to the residual stream. */
  | 'hook_attn_out'
  /** Residual stream between attention and MLP. */
  | 'hook_resid_mid'
  /** The residual stream as the norm before the MLP gives it without its weight and bias: x / √(mean x² + ε) of an RMS norm. */
  | 'ln2.hook_normalized'
  /** Input of the MLP: the same with the norm's weight and bias. */
  | 'mlp.hook_in'
  /** What the MLP's activation function is applied to: of a gated MLP, its gate. */
  | 'mlp.hook_pre'
  /** A gated MLP's linear (up) branch. */
  | 'mlp.hook_pre_linear'
  /** Input of the MLP's last projection: of a gated MLP, act(gate) · up. */
  | 'mlp.hook_post'
  /** What the MLP adds to the residual stream. */
  | 'hook_mlp_out'
  /** Residual stream after the block. */
  | 'hook_resid_post'
  /** The residual stream after the last block as the norm before the unembedding gives it without its weight and bias. */
  | 'ln_final.hook_normalized';

/** Sites that a model has once, outside its blocks; their names are their sites. */
type OuterSite = Extract<HookSite, 'hook_embed' | 'ln_final.hook_normalized'>;
type SiteOfBlock = Exclude<HookSite, OuterSite>;

/**
 * Sites whose values are, or are added to, the residual stream; and the one after its last norm has divided, from where
 * the way to the logits is the same.
 */
const ON_RESIDUAL: readonly HookSite[] = [
  ...(['hook_embed', 'hook_resid_pre', 'hook_attn_out', 'hook_resid_mid'] as const),
  ...(['hook_mlp_out', 'hook_resid_post', 'ln_final.hook_normalized'] as const),
];

/** Is a direction at the site one of the residual stream? */
export const isOnResidual = (site: HookSite): boolean => ON_RESIDUAL.includes(site);

export interface Hook {
  /** Full name, `blocks.L.site`; outside the blocks, the site. */
  readonly name: string;
  /** The block it lies in; outside the blocks, the one next to it. */
  readonly layer: number;
  readonly site: HookSite;
  /** Size of the last dimension, d_in of an SAE here. */
  readonly width: number;
}

/**
 * Called at every hook point with its value [..., width] in float32; what it returns takes the value's place. It may
 * record the value (harvest), or return a tall one with a leading dimension of variants (splice-in): later operations
 * broadcast over that dimension, and the end of the block folds it into the batch.
 */
export interface HookFunction {
  (name: string, value: Value): Value;
  /** The only hook points it acts on; any where absent. What others alone would show is not computed for it. */
  readonly only?: ReadonlySet<string>;
}

/** A hook function that acts on these hook points alone; values of all others stay. */
export function hookAt(names: Iterable<string>, hook: HookFunction): HookFunction {
  const only = new Set(names);
  return Object.assign((name: string, value: Value) => (only.has(name) ? hook(name, value) : value), { only });
}

/** Full name of a hook point. */
export function hookName(layer: number, site: HookSite): string {
  return `blocks.${layer}.${site}`;
}

/** Sees nothing and replaces nothing. */
export const noHook: HookFunction = hookAt([], (_, value) => value);

/** The hook function of one block, which knows hook points by their sites. */
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

/** The hook function of what lies outside the blocks. */
export function hookOutside(hook: HookFunction): HookOfBlock {
  return Object.assign((site: HookSite, value: Value) => hook(site, value), {
    actsOn: (site: HookSite) => hook.only === undefined || hook.only.has(site),
  });
}

/**
 * All hook points of a model, in the order of computation.
 *
 * @param hidden width of the residual stream
 * @param widths of a block's sites, in the order of computation
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
 * The hook of a name.
 *
 * @throws Refusal with the hook that is probably meant, and every site
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
  const others = outside.length === 0 ? '' : `; outside the blocks there are ${outside.join(' and ')}`;
  throw new Refusal(
    `There is no hook "${name}" in this model of ${last + 1} layers (blocks.0 to blocks.${last}).`,
    `${meantHook(name, sites, last)}A hook is blocks.LAYER.SITE, the site one of ${sites.join(', ')}${others}.`,
    'lm/no-hook',
  );
}

/** The hook that is probably meant, as a question; nothing where none is near. */
function meantHook(name: string, sites: readonly HookSite[], last: number): string {
  const { layer, site } = hookMeant(name, sites);
  if (site === undefined) return Object.hasOwn(OUTSIDE, name) ? `Did you mean ${OUTSIDE[name]}? ` : '';
  // Without a layer, or with one that does not exist, only the user knows which.
  const known = layer !== undefined && layer <= last;
  return known ? `Did you mean blocks.${layer}.${site}? ` : `Did you mean blocks.LAYER.${site}, LAYER 0 to ${last}? `;
}

/**
 * Sites by other names: TransformerLens's short names and those of its bridge (3 and later), Hugging Face's modules,
 * dictionary_learning's. What a module gives is meant; `o_proj` and `down_proj` are projections onto the residual stream.
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

/** Hook points outside the blocks by other names. */
const OUTSIDE: Readonly<Record<string, OuterSite>> = {
  ...{ embed: 'hook_embed', 'embed.hook_out': 'hook_embed', 'model.embed_tokens': 'hook_embed' },
  ...{ 'transformer.wte': 'hook_embed', 'gpt_neox.embed_in': 'hook_embed' },
  ln_final: 'ln_final.hook_normalized',
};

/** Where blocks of a model are counted: `blocks.3.`, `model.layers.3.`, `transformer.h.3.`, `3.` */
const BLOCK = /^(?:[a-z_]+\.)*?(?:blocks?|layers?|h)[._]?(\d+)(?:\.|$)|^(\d+)\./i;
/** `resid_post_layer_8` (dictionary_learning), `resid_post8` and `mlp_post_8` (TransformerLens's get_act_name). */
const AT_END = /^(.*?[a-z])(?:_?layer)?_?(\d+)$/i;

/** What a name that is not one of ours probably stands for. */
interface Meant {
  /** The block it names, if any; may be one that the model does not have. */
  readonly layer: number | undefined;
  readonly site: string | undefined;
}

/** @param sites those there are */
function hookMeant(name: string, sites: readonly string[]): Meant {
  const block = BLOCK.exec(name);
  const end = block ? null : AT_END.exec(name);
  const layer = block?.[1] ?? block?.[2] ?? end?.[2];
  const rest = block ? name.slice(block[0].length) : (end?.[1] ?? name.replace(/^blocks?\./, ''));
  const foreign = Object.hasOwn(SITES, rest) && (rest !== '' || block !== null) ? SITES[rest] : undefined;
  const site = sites.includes(rest) ? rest : (foreign ?? nearest(rest, sites, 1)[0]);
  return { layer: layer === undefined ? undefined : Number(layer), site };
}

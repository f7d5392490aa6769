import { nearest } from '../errors/nearest.js';
import { Refusal } from '../errors/refusal.js';
import type { Value } from '../onnx/graph.js';

/**
 * Hook points of a block by TransformerLens's names. Values are the raw ones of the Hugging Face model (nothing folded),
 * with a flat last dimension. A family has those of them that its blocks compute.
 */
export type HookSite =
  /** Residual stream before the block. */
  | 'hook_resid_pre'
  /** Attention's output by head, before W_O. */
  | 'attn.hook_z'
  /** What attention adds to the residual stream. */
  | 'hook_attn_out'
  /** Residual stream between attention and MLP. */
  | 'hook_resid_mid'
  /** The residual stream as the norm before the MLP divides it, x / √(mean x² + ε), without the norm's weight. */
  | 'ln2.hook_normalized'
  /** Input of the MLP: the same times the norm's weight. */
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
  | 'hook_resid_post';

export interface Hook {
  /** Full name, `blocks.L.site`. */
  readonly name: string;
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

/** All hook points of a model, first layer first, from the widths at a block's sites in the order of computation. */
export function hooksOfBlocks(
  layers: number,
  widths: (layer: number) => Readonly<Partial<Record<HookSite, number>>>,
): Hook[] {
  return Array.from({ length: layers }, (_, layer) =>
    (Object.entries(widths(layer)) as [HookSite, number][]).map(([site, width]) => {
      return { name: hookName(layer, site), layer, site, width };
    }),
  ).flat();
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
  const sites = [...new Set(hooks.map(({ site }) => site))];
  const last = hooks.at(-1)!.layer;
  throw new Refusal(
    `There is no hook "${name}" in this model of ${last + 1} layers (blocks.0 to blocks.${last}).`,
    `${meantHook(name, sites, last)}A hook is blocks.LAYER.SITE, the site one of ${sites.join(', ')}.`,
    'lm/no-hook',
  );
}

/** The hook that is probably meant, as a question; nothing where none is near. */
function meantHook(name: string, sites: readonly HookSite[], last: number): string {
  const { layer, site } = hookMeant(name, sites);
  if (site === undefined) return '';
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

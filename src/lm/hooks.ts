import { Refusal } from '../config/refusal.js';
import { hookMeant } from './foreign-hooks.js';
import type { GemmaConfig } from './gemma-config.js';

/**
 * Hook points, by TransformerLens's names, in the order in which a block computes them. Values are the raw ones of the
 * Hugging Face model (nothing folded), with a flat last dimension.
 */
export const HOOK_SITES = {
  /** Residual stream before the block. */
  hook_resid_pre: (c: GemmaConfig) => c.hidden,
  /** Attention's output by head, before W_O. */
  'attn.hook_z': (c: GemmaConfig) => c.heads * c.headDim,
  /** What attention adds to the residual stream. */
  hook_attn_out: (c: GemmaConfig) => c.hidden,
  /** Residual stream between attention and MLP. */
  hook_resid_mid: (c: GemmaConfig) => c.hidden,
  /** Gate of the gated MLP, before its activation function. */
  'mlp.hook_pre': (c: GemmaConfig) => c.mlp,
  /** The MLP's linear (up) branch. */
  'mlp.hook_pre_linear': (c: GemmaConfig) => c.mlp,
  /** act(gate) · up, the input of the down projection. */
  'mlp.hook_post': (c: GemmaConfig) => c.mlp,
  /** What the MLP adds to the residual stream. */
  hook_mlp_out: (c: GemmaConfig) => c.hidden,
  /** Residual stream after the block. */
  hook_resid_post: (c: GemmaConfig) => c.hidden,
} satisfies Record<string, (config: GemmaConfig) => number>;

export type HookSite = keyof typeof HOOK_SITES;

export interface Hook {
  /** Full name, `blocks.L.site`. */
  readonly name: string;
  readonly layer: number;
  readonly site: HookSite;
  /** Size of the last dimension, d_in of an SAE here. */
  readonly width: number;
}

/** Full name of a hook point. */
export function hookName(layer: number, site: HookSite): string {
  return `blocks.${layer}.${site}`;
}

/** All hook points of a model, first layer first. */
export function allHooks(config: GemmaConfig): Hook[] {
  const sites = Object.entries(HOOK_SITES) as [HookSite, (c: GemmaConfig) => number][];
  return Array.from({ length: config.layers }, (_, layer) =>
    sites.map(([site, width]) => ({ name: hookName(layer, site), layer, site, width: width(config) })),
  ).flat();
}

/**
 * The hook of a name.
 *
 * @throws Refusal with the hook that is probably meant, and every site
 */
export function findHook(name: string, config: GemmaConfig): Hook {
  return findHookAmong(name, allHooks(config));
}

/** The same among the hooks of a model. */
export function findHookAmong(name: string, hooks: readonly Hook[]): Hook {
  const hook = hooks.find((candidate) => candidate.name === name);
  if (hook) return hook;
  const sites = Object.keys(HOOK_SITES) as HookSite[];
  const last = hooks.at(-1)!.layer;
  throw new Refusal(
    `There is no hook "${name}" in this model of ${last + 1} layers (blocks.0 to blocks.${last}).`,
    `${meantHook(name, sites, last)}A hook is blocks.LAYER.SITE, the site one of ${sites.join(', ')}.`,
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

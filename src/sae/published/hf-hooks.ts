/** Modules in the blocks of Hugging Face models, and the hook points of their inputs and outputs. */
const SITES: Readonly<Record<string, string>> = {
  output: 'hook_resid_post',
  'self_attn.o_proj.input': 'attn.hook_z',
  'pre_feedforward_layernorm.output': 'mlp.hook_in',
  'post_feedforward_layernorm.output': 'hook_mlp_out',
};

/** The hook point of `model.layers.N.MODULE.output` in Gemma 2 and later; undefined if there is no known one. */
export function hookOfModule(module: string): string | undefined {
  const [, layer, rest] = /^(?:model\.)?(?:language_model\.)?layers\.(\d+)\.(.+)$/.exec(module) ?? [];
  const site = rest !== undefined && Object.hasOwn(SITES, rest) ? SITES[rest] : undefined;
  return site === undefined ? undefined : `blocks.${layer}.${site}`;
}

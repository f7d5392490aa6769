/** What the blocks of a Hugging Face model have as modules, and the hook points that their inputs and outputs are. */
const SITES: Readonly<Record<string, string>> = {
  output: 'hook_resid_post',
  'self_attn.o_proj.input': 'attn.hook_z',
  'pre_feedforward_layernorm.output': 'mlp.hook_in',
  'post_feedforward_layernorm.output': 'hook_mlp_out',
};

/** The hook point of `model.layers.N.MODULE.output` in Gemma 2 and later; undefined where it is none that is known. */
export function hookOfModule(module: string): string | undefined {
  const [, layer, rest] = /^(?:model\.)?(?:language_model\.)?layers\.(\d+)\.(.+)$/.exec(module) ?? [];
  const site = rest !== undefined && Object.hasOwn(SITES, rest) ? SITES[rest] : undefined;
  return site === undefined ? undefined : `blocks.${layer}.${site}`;
}

import { ARCHITECTURES } from '../../registry.js';
import { type DescribedSae, filesNamed, type Layout, type LayoutInput, unsupported } from '../layout.js';
import { scaled, Tensors } from '../tensors.js';

/** google/gemma-scope-2b-pt-res: size, base or instruction-tuned, site. */
const REPOSITORY = /gemma-scope-(2b|9b|27b)-(pt|it)-(res|mlp|att|transcoders)(?=\/|$)/;

/** Information in repository and folder names; none if they have been renamed. */
function facts(name: string) {
  const [, size, tuned, kind] = REPOSITORY.exec(name) ?? [];
  const layer = /(?:^|\/)layer_(\d+)(?=\/|$)/.exec(name)?.[1];
  const embedding = /(?:^|\/)embedding(?=\/|$)/.test(name);
  const model_name = size && `google/gemma-2-${size}${tuned === 'it' ? '-it' : ''}`;
  if (embedding) return { model_name, embedding, hook_name: 'hook_embed' };
  if (layer === undefined || kind === undefined) return { model_name };
  const at = (site: string) => `blocks.${layer}.${site}`;
  switch (kind) {
    case 'res':
      return { model_name, hook_name: at('hook_resid_post') };
    case 'mlp':
      return { model_name, hook_name: at('hook_mlp_out') };
    case 'att':
      return { model_name, hook_name: at('attn.hook_z') };
    default:
      // They read the norm's output with its weight folded into the MLP.
      return { model_name, hook_name: at('ln2.hook_normalized'), hook_name_out: at('hook_mlp_out') };
  }
}

async function read({ files, name }: LayoutInput): Promise<DescribedSae> {
  const tensors = await Tensors.open(files.weights!);
  const spelt = (key: string) => tensors.spelling(`W_${key}`, `w_${key}`);
  const [W_enc, W_dec] = [spelt('enc'), spelt('dec')];
  const other = tensors.names.find((found) => ![W_enc, W_dec, 'b_enc', 'b_dec', 'threshold'].includes(found));
  if (other !== undefined) unsupported(files.weights!, `it has ${other}, which no Gemma Scope SAE has`, OTHER);
  const [dIn, dSae] = tensors.matrix(W_enc);
  const [, dOut] = tensors.matrix(W_dec);
  const { embedding, model_name, hook_name, hook_name_out } = {
    embedding: false,
    hook_name_out: undefined,
    ...facts(name),
  };
  // Its embeddings are taken before Gemma multiplies them by √d; hook_embed is after.
  const scale = embedding ? Math.sqrt(dIn) : 1;
  return {
    architecture: ARCHITECTURES.jumprelu.name,
    ...(hook_name_out !== undefined && { transcoder: true as const }),
    dIn,
    dOut,
    dSae,
    forward: { apply_b_dec_to_input: false, normalize_activations: 'none' },
    metadata: { model_name, hook_name, hook_name_out, context_size: 1024, prepend_bos: true },
    values: {
      W_enc: scaled(tensors.values(W_enc, dIn, dSae), 1 / scale),
      W_dec: scaled(tensors.values(W_dec, dSae, dOut), scale),
      b_enc: tensors.values('b_enc', dSae),
      b_dec: scaled(tensors.values('b_dec', dOut), scale),
      threshold: tensors.values('threshold', dSae),
    },
  };
}

const OTHER = 'Check that it is the params.npz of a Gemma Scope folder.';

/** Gemma Scope (Lieberum et al. 2024) and its transcoders: one params.npz. */
export const gemmaScope: Layout = {
  name: 'gemma-scope',
  publisher: 'Gemma Scope',
  find: (place) => filesNamed(place, ['weights', 'params.npz']),
  read,
};

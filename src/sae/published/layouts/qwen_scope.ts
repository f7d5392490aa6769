import { baseName, type DescribedSae, type Layout, type LayoutInput, unsupported } from '../layout.js';
import { Tensors } from '../tensors.js';

/** SAE-Res-Qwen3-1.7B-Base-W32K-L0_50: model, width, k. */
const REPOSITORY = /SAE-Res-([^/]+)-W(\d+)K-L0_(\d+)(?=\/|$)/;
const FILE = /^layer(\d+)\.sae\.pt$/;

async function read({ files, name }: LayoutInput): Promise<DescribedSae> {
  const path = files.weights!;
  const [, model, width, L0] = REPOSITORY.exec(name) ?? [];
  if (model === undefined) {
    unsupported(
      path,
      'its k is in the name of its repository, and no local folder has that name',
      'Put the file into a folder with that name: SAE-Res-Qwen3-1.7B-Base-W32K-L0_50.',
    );
  }
  const tensors = await Tensors.open(path);
  const [dSae, dIn] = tensors.matrix('W_enc');
  if (dSae !== Number(width) * 1024) {
    unsupported(path, `it has ${dSae} features, but its repository name says ${width}K`, 'Download the file again.');
  }
  const k = Number(L0);
  if (!(k >= 1 && k <= dSae))
    unsupported(path, `its repository name says k = ${k}, with ${dSae} features`, 'Check the name.');
  const [, layer] = FILE.exec(baseName(path))!;
  return {
    architecture: 'topk',
    ...{ dIn, dOut: dIn, dSae },
    forward: { apply_b_dec_to_input: false, normalize_activations: 'none', k, rescale_acts_by_decoder_norm: false },
    metadata: { model_name: `Qwen/${model}`, hook_name: `blocks.${layer}.hook_resid_post`, context_size: 1024 },
    values: {
      W_enc: tensors.transposed('W_enc', dSae, dIn),
      W_dec: tensors.transposed('W_dec', dIn, dSae),
      b_enc: tensors.values('b_enc', dSae),
      b_dec: tensors.values('b_dec', dIn),
    },
  };
}

/** Qwen Scope: a file layerN.sae.pt; everything else is in the repository's name. */
export const qwenScope: Layout = {
  name: 'qwen-scope',
  publisher: 'Qwen Scope',
  find: async (place) =>
    FILE.test(baseName(place.path)) && (await place.has(place.path)) ? { weights: place.path } : undefined,
  read,
};

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
      'it keeps its k in the name of its repository, and no folder here has that name',
      'Put the file into a folder of that name: SAE-Res-Qwen3-1.7B-Base-W32K-L0_50.',
    );
  }
  const tensors = await Tensors.open(path);
  const [dSae, dIn] = tensors.matrix('W_enc');
  if (dSae !== Number(width) * 1024) {
    unsupported(path, `it has ${dSae} features, and its repository says ${width}K`, 'Download the file again.');
  }
  const k = Number(L0);
  if (!(k >= 1 && k <= dSae)) unsupported(path, `its repository says k = ${k} of ${dSae} features`, 'Check the name.');
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

/** Qwen Scope: a file layerN.sae.pt in a repository whose name says the rest. */
export const qwenScope: Layout = {
  name: 'qwen-scope',
  publisher: 'Qwen Scope',
  find: async (place) =>
    FILE.test(baseName(place.path)) && (await place.has(place.path)) ? { weights: place.path } : undefined,
  read,
};

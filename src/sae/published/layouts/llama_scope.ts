import { z } from 'zod';
import { checkAgrees, readConfig } from '../config.js';
import { type DescribedSae, filesNamed, type Layout, type LayoutInput, unsupported } from '../layout.js';
import { exponential, foldScale, Tensors } from '../tensors.js';

const norms = z.looseObject({ in: z.number().positive() });
const shared = {
  d_model: z.number().int().positive(),
  hook_point_in: z.string(),
  hook_point_out: z.string().nullish(),
};
const config = z.looseObject({
  ...shared,
  d_sae: z.number().int().positive(),
  jump_relu_threshold: z.number(),
  dataset_average_activation_norm: norms,
});
const distilled = z.looseObject({
  ...shared,
  expansion_factor: z.number().positive(),
  dataset_average_activation_norm: norms.nullish(),
});

const MODEL = 'meta-llama/Llama-3.1-8B';
const FORWARD = { apply_b_dec_to_input: false, normalize_activations: 'none' } as const;
const ABOUT = { context_size: 1024, prepend_bos: true } as const;
const OF_ONE_HOOK = 'Choose an SAE that reconstructs the hook it reads.';

function checkOneHook(path: string, { hook_point_in: from, hook_point_out: to }: z.output<typeof distilled>): void {
  if (to != null && to !== from) unsupported(path, `it reads ${from} and reconstructs ${to}`, OF_ONE_HOOK);
}

/** Matrices and biases, in torch.nn.Linear's storage format. */
function linear(tensors: Tensors, dIn: number, dSae: number): DescribedSae['values'] {
  return {
    W_enc: tensors.transposed('encoder.weight', dSae, dIn),
    W_dec: tensors.transposed('decoder.weight', dIn, dSae),
    b_enc: tensors.values('encoder.bias', dSae),
    b_dec: tensors.values('decoder.bias', dIn),
  };
}

/**
 * Activations are scaled to a mean norm of √d, which is folded in here; the threshold is a single number for raw
 * activations, so it is scaled with them (as in SAELens 6.54).
 */
async function read({ files }: LayoutInput): Promise<DescribedSae> {
  const path = files.config!;
  const cfg = await readConfig(config, path);
  checkOneHook(path, cfg as never);
  const tensors = await Tensors.open(files.weights!);
  const [dSae, dIn] = tensors.matrix('encoder.weight');
  checkAgrees(path, 'd_model', cfg.d_model, dIn);
  checkAgrees(path, 'd_sae', cfg.d_sae, dSae);
  const scale = Math.sqrt(dIn) / cfg.dataset_average_activation_norm.in;
  const threshold = async () => new Float32Array(dSae).fill(cfg.jump_relu_threshold * scale);
  return {
    architecture: 'jumprelu',
    ...{ dIn, dOut: dIn, dSae },
    forward: FORWARD,
    metadata: { model_name: MODEL, hook_name: cfg.hook_point_in, ...ABOUT },
    values: { ...foldScale(linear(tensors, dIn, dSae), scale), threshold },
  };
}

/** Llama Scope (He et al. 2024): hyperparams.json and checkpoints/final.safetensors. */
export const llamaScope: Layout = {
  name: 'llama-scope',
  publisher: 'Llama Scope',
  find: (place) => filesNamed(place, ['config', 'hyperparams.json'], { weights: 'checkpoints/final.safetensors' }),
  read,
};

async function readDistilled({ files, scale: given }: LayoutInput): Promise<DescribedSae> {
  const path = files.config!;
  const cfg = await readConfig(distilled, path);
  checkOneHook(path, cfg);
  const tensors = await Tensors.open(files.weights!);
  const [dSae, dIn] = tensors.matrix('encoder.weight');
  checkAgrees(path, 'd_model', cfg.d_model, dIn);
  checkAgrees(path, 'd_model × expansion_factor', cfg.d_model * cfg.expansion_factor, dSae);
  const mean = cfg.dataset_average_activation_norm?.in;
  const scale = given ?? (mean === undefined ? undefined : Math.sqrt(dIn) / mean);
  if (scale === undefined) {
    return unsupported(
      path,
      'the mean norm of the activations it was trained on is not given',
      'Refer to it as release:id, which provides it.',
    );
  }
  return {
    architecture: 'jumprelu',
    ...{ dIn, dOut: dIn, dSae },
    forward: FORWARD,
    metadata: { model_name: MODEL, hook_name: cfg.hook_point_in, ...ABOUT },
    values: {
      ...foldScale(linear(tensors, dIn, dSae), scale),
      threshold: exponential(tensors.values('log_jumprelu_threshold', dSae)),
    },
  };
}

/** Llama Scope R1-Distill: config.json and sae_weights.safetensors. */
export const llamaScopeR1: Layout = {
  name: 'llama-scope-r1',
  publisher: 'Llama Scope R1-Distill',
  find: async (place) => {
    const found = await filesNamed(
      place,
      ['weights', 'sae_weights.safetensors'],
      { config: 'config.json' },
      { cfg: 'cfg.json' },
    );
    return found?.cfg === undefined ? found : undefined;
  },
  read: readDistilled,
};

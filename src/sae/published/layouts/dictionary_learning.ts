import { z } from 'zod';
import type { ArchitectureName, ForwardSettings, ParameterName } from '../../sae.js';
import { checkAgrees, readConfig } from '../config.js';
import { type DescribedSae, filesNamed, type Layout, type LayoutInput, unsupported } from '../layout.js';
import { Tensors } from '../tensors.js';

const config = z.looseObject({
  trainer: z.looseObject({
    dict_class: z.string(),
    activation_dim: z.number().int().positive().optional(),
    dict_size: z.number().int().positive().optional(),
    k: z.number().int().positive().nullish(),
    layer: z.number().int().nonnegative().nullish(),
    lm_name: z.string().nullish(),
    submodule_name: z.string().nullish(),
  }),
  buffer: z.looseObject({ ctx_len: z.number().int().min(2).nullish(), io: z.string().nullish() }).nullish(),
});
type Said = z.output<typeof config>;

/** Parameter names and architecture of one of the library's classes. */
interface DictClass {
  readonly architecture: ArchitectureName;
  /** By our names. A matrix stored as [out, in] is listed in `turned`. */
  readonly names: Partial<Record<ParameterName, string>>;
  readonly turned: boolean;
  readonly subtracts: boolean;
}

const LINEAR = { W_enc: 'encoder.weight', W_dec: 'decoder.weight' };
const PLAIN_NAMES = { W_enc: 'W_enc', W_dec: 'W_dec', b_enc: 'b_enc', b_dec: 'b_dec' };
/** Its threshold, one for all features, replaces the selection over a batch. */
const BATCH_TOPK: DictClass = {
  architecture: 'jumprelu',
  names: { ...LINEAR, b_enc: 'encoder.bias', b_dec: 'b_dec', threshold: 'threshold' },
  turned: true,
  subtracts: true,
};

export const CLASSES: Readonly<Record<string, DictClass>> = {
  AutoEncoder: {
    architecture: 'standard',
    names: { ...LINEAR, b_enc: 'encoder.bias', b_dec: 'bias' },
    turned: true,
    subtracts: true,
  },
  AutoEncoderNew: {
    architecture: 'standard',
    names: { ...LINEAR, b_enc: 'encoder.bias', b_dec: 'decoder.bias' },
    turned: true,
    subtracts: false,
  },
  GatedAutoEncoder: {
    architecture: 'gated',
    names: { ...LINEAR, b_dec: 'decoder_bias', b_gate: 'gate_bias', b_mag: 'mag_bias', r_mag: 'r_mag' },
    turned: true,
    subtracts: true,
  },
  AutoEncoderTopK: {
    architecture: 'topk',
    names: { ...LINEAR, b_enc: 'encoder.bias', b_dec: 'b_dec' },
    turned: true,
    subtracts: true,
  },
  BatchTopKSAE: BATCH_TOPK,
  MatryoshkaBatchTopKSAE: {
    architecture: 'jumprelu',
    names: { ...PLAIN_NAMES, threshold: 'threshold' },
    turned: false,
    subtracts: true,
  },
  JumpReluAutoEncoder: {
    architecture: 'jumprelu',
    names: { ...PLAIN_NAMES, threshold: 'threshold' },
    turned: false,
    subtracts: false,
  },
};

async function read({ files }: LayoutInput): Promise<DescribedSae> {
  const { trainer, buffer } = await readConfig(config, files.config!);
  const { dict_class } = trainer;
  if (!Object.hasOwn(CLASSES, dict_class)) {
    const known = Object.keys(CLASSES).join(', ');
    unsupported(
      files.config!,
      `dict_class is ${JSON.stringify(dict_class)}; known are ${known}`,
      'Choose one of these.',
    );
  }
  if (buffer?.io === 'in_and_out') {
    unsupported(
      files.config!,
      'it reads one activation and reconstructs another (buffer.io)',
      'Choose an SAE of one hook.',
    );
  }
  const { architecture, names, turned, subtracts } = CLASSES[dict_class]!;
  const tensors = await Tensors.open(files.weights!);
  const [dIn, dSae] = turned
    ? ([...tensors.matrix(names.W_enc!)].reverse() as [number, number])
    : tensors.matrix('W_enc');
  checkAgrees(files.config!, 'activation_dim', trainer.activation_dim, dIn);
  checkAgrees(files.config!, 'dict_size', trainer.dict_size, dSae);
  const matrix = (name: string, rows: number, columns: number) =>
    turned ? tensors.transposed(name, columns, rows) : tensors.values(name, rows, columns);
  const { W_enc, W_dec, threshold, b_dec, ...others } = names;
  const values: DescribedSae['values'] = {
    W_enc: matrix(W_enc!, dIn, dSae),
    W_dec: matrix(W_dec!, dSae, dIn),
    b_dec: tensors.values(b_dec!, dIn),
    ...(threshold && { threshold: tensors.perFeature(threshold, dSae) }),
  };
  for (const [name, stored] of Object.entries(others)) values[name as ParameterName] = tensors.values(stored, dSae);
  const forward: ForwardSettings = { apply_b_dec_to_input: subtracts, normalize_activations: 'none' };
  const k = architecture === 'topk' ? await kOf(tensors, trainer, dSae, files.config!) : undefined;
  return {
    architecture,
    dIn,
    dOut: dIn,
    dSae,
    forward: { ...forward, ...(k !== undefined && { k, rescale_acts_by_decoder_norm: false }) },
    metadata: {
      model_name: trainer.lm_name ?? undefined,
      hook_name: hookOf(trainer),
      context_size: buffer?.ctx_len ?? undefined,
    },
    values,
  };
}

/** k of a TopK SAE, which may be in both files. */
async function kOf(tensors: Tensors, trainer: Said['trainer'], dSae: number, path: string): Promise<number> {
  const stored = tensors.has('k') ? (await tensors.integers('k'))[0] : undefined;
  const k = stored ?? trainer.k ?? 0;
  checkAgrees(path, 'k', trainer.k ?? undefined, k);
  if (k >= 1 && k <= dSae) return k;
  return unsupported(path, `k is ${k || 'missing'}, with ${dSae} features`, 'Download the SAE again.');
}

/** Only the residual stream is unambiguous: the output of an attention or MLP module depends on the model. */
function hookOf({ layer, submodule_name }: Said['trainer']): string | undefined {
  if (layer == null) return undefined;
  const plain = submodule_name == null || /^resid_post(_layer_\d+)?$/.test(submodule_name);
  return plain ? `blocks.${layer}.hook_resid_post` : undefined;
}

/** dictionary_learning (Marks et al. 2024): config.json and ae.pt. */
export const dictionaryLearning: Layout = {
  name: 'dictionary-learning',
  publisher: 'dictionary_learning',
  find: (place) => filesNamed(place, ['weights', 'ae.pt'], { config: 'config.json' }),
  read,
};

import { join } from 'node:path';
import { writeAside } from '../../../disk/output-file.js';
import { type FloatsToWrite, type IntsToWrite, writePth } from '../../../safetensors/write-pth.js';
import { convert, folded, withRawInput } from '../../convert.js';
import { type ParameterName, PLAIN, parameterShape, type Sae } from '../../sae.js';
import type { SaeMetadata } from '../../saelens.js';
import { CLASSES } from '../layouts/dictionary_learning.js';
import { transposed } from '../tensors.js';
import { cannotHold, checkOfOneHook, checkPlain, type SaeWriter } from '../writer.js';

const LAYOUT = 'dictionary-learning';
const [CONFIG, WEIGHTS] = ['config.json', 'ae.pt'];
const HOOK = /^blocks\.(\d+)\.hook_resid_post$/;

/** The library's class for a fitted SAE. */
function classOf({ architecture, forward = PLAIN }: Sae): string {
  if (architecture === 'standard') return forward.apply_b_dec_to_input ? 'AutoEncoder' : 'AutoEncoderNew';
  if (architecture === 'gated') return 'GatedAutoEncoder';
  return architecture === 'topk' ? 'AutoEncoderTopK' : 'JumpReluAutoEncoder';
}

function fitted(sae: Sae, { hook_name }: SaeMetadata, name: string): Sae {
  checkPlain(sae, name, LAYOUT);
  checkOfOneHook(sae, name, LAYOUT);
  if (hook_name !== undefined && !HOOK.test(hook_name)) cannotHold(name, LAYOUT, `its hook ${hook_name}`);
  if (sae.architecture === 'standard') return sae;
  if (sae.architecture !== 'gated' && sae.architecture !== 'topk') return withRawInput(convert(sae, 'jumprelu'));
  const { sae: plain } = folded(sae, sae.forward?.rescale_acts_by_decoder_norm === true, name);
  if (sae.architecture === 'gated') return plain;
  return { ...plain, forward: { ...plain.forward!, rescale_acts_by_decoder_norm: false } };
}

/** Parameters by the names of their class; those of torch.nn.Linear are stored as [out, in]. */
function stateDict(sae: Sae): (FloatsToWrite | IntsToWrite)[] {
  const { names, turned } = CLASSES[classOf(sae)]!;
  const tensors = (Object.entries(names) as [ParameterName, string][]).map(([parameter, name]) => {
    const shape = parameterShape(parameter, sae);
    const values = sae.parameters[parameter]!;
    if (!turned || shape.length === 1) return { name, shape, read: async () => values };
    const [rows, columns] = shape as [number, number];
    return { name, shape: [columns, rows], read: async () => transposed(values, rows, columns) };
  });
  const k = sae.forward?.k;
  if (k === undefined) return tensors;
  // Buffers of its class: k, and a threshold that was never set.
  const unset = { name: 'threshold', shape: [], read: async () => Float32Array.of(-1) };
  return [...tensors, { name: 'k', shape: [], ints: Int32Array.of(k) }, unset];
}

/** config.json and ae.pt. */
export const dictionaryLearningWriter: SaeWriter = {
  files: [CONFIG, WEIGHTS],
  result: CONFIG,
  fitted,
  async write(directory, sae, { model_name, hook_name, context_size }) {
    await writePth(join(directory, WEIGHTS), stateDict(sae));
    const layer = HOOK.exec(hook_name ?? '')?.[1];
    const { dIn, dSae, forward } = sae;
    const config = {
      trainer: {
        ...{ dict_class: classOf(sae), activation_dim: dIn, dict_size: dSae, lm_name: model_name ?? null },
        ...{ layer: layer === undefined ? null : Number(layer) },
        ...(layer !== undefined && { submodule_name: `resid_post_layer_${layer}` }),
        ...(forward?.k !== undefined && { k: forward.k }),
      },
      buffer: { d_submodule: dIn, io: 'out', ctx_len: context_size ?? null },
    };
    await writeAside(join(directory, CONFIG), `${JSON.stringify(config, null, 1)}\n`);
  },
};

import { join } from 'node:path';
import { writeAside } from '../../../disk/output-file.js';
import { floatTensor, writeSafetensors } from '../../../safetensors/file.js';
import { folded } from '../../convert.js';
import { PLAIN } from '../../sae.js';
import { transposed } from '../tensors.js';
import { cannotHold, checkPlain, type SaeWriter } from '../writer.js';

const LAYOUT = 'sparsify';
const [CFG, WEIGHTS] = ['cfg.json', 'sae.safetensors'];

/** cfg.json and sae.safetensors of a folder; its name, which gives the hook, is up to the user. */
export const sparsifyWriter: SaeWriter = {
  files: [CFG, WEIGHTS],
  result: CFG,
  fitted(sae, _, name) {
    checkPlain(sae, name, LAYOUT);
    if (sae.architecture !== 'topk') cannotHold(name, LAYOUT, `that it is ${sae.architecture}, not topk,`);
    if (sae.dIn !== sae.dOut) cannotHold(name, LAYOUT, 'that it reads and writes different widths');
    const { forward = PLAIN } = sae;
    const { sae: plain } = folded(sae, forward.rescale_acts_by_decoder_norm === true, name);
    return { ...plain, forward: { ...plain.forward!, rescale_acts_by_decoder_norm: false } };
  },
  async write(directory, { dIn, dSae, forward, parameters: w, transcoder = false, skip = false }) {
    await writeSafetensors(join(directory, WEIGHTS), [
      ...(skip ? [floatTensor('W_skip', [dIn, dIn], w.W_skip!)] : []),
      floatTensor('W_dec', [dSae, dIn], w.W_dec!),
      floatTensor('b_dec', [dIn], w.b_dec!),
      floatTensor('encoder.bias', [dSae], w.b_enc!),
      floatTensor('encoder.weight', [dSae, dIn], transposed(w.W_enc!, dIn, dSae)),
    ]);
    const cfg = {
      ...{ activation: 'topk', expansion_factor: 1, normalize_decoder: false, num_latents: dSae, k: forward!.k },
      ...{ multi_topk: false, skip_connection: skip, transcode: transcoder, d_in: dIn },
    };
    await writeAside(join(directory, CFG), `${JSON.stringify(cfg)}\n`);
  },
};

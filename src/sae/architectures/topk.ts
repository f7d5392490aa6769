import { z } from 'zod';
import { checkJson } from '../../disk/json.js';
import { Refusal } from '../../errors/refusal.js';
import { type Architecture, decoderNorms } from '../architecture.js';

const cfgSchema = z.looseObject({
  k: z.number().int().positive().nullish(),
  rescale_acts_by_decoder_norm: z.boolean().default(false),
});
const REMEDY = 'Use the cfg.json that came with the weights, or train the SAE again.';

/** SAELens's topk: the k largest of p + b_enc of a token, then ReLU; the rest is zero. */
export const topk: Architecture = {
  name: 'topk',
  about: 'TopK (Gao et al. 2024)',
  parameters: ['W_enc', 'W_dec', 'b_dec', 'b_enc'],
  proportional: ['b_dec', 'b_enc'],
  competes: true,
  encode(g, w, { p }, { k, rescale_acts_by_decoder_norm }) {
    let pre = g.add(p, w.b_enc!);
    if (rescale_acts_by_decoder_norm) pre = g.mul(pre, decoderNorms(g, w));
    const [values, indices] = g.ops('TopK', [pre, g.ints(k!)], 2, { axis: -1 });
    const zeros = g.op('ConstantOfShape', [g.op('Shape', [pre])]);
    return g.op('ScatterElements', [zeros, indices!, g.relu(values!)], { axis: -1 });
  },
  saelens: {
    names: ['topk'],
    activation: 'topk',
    read(cfg, dSae, path) {
      const { k, rescale_acts_by_decoder_norm } = checkJson(cfgSchema, cfg, path, REMEDY);
      if (k != null && k <= dSae) return { k, rescale_acts_by_decoder_norm };
      throw new Refusal(
        `${path}: k is ${k ?? 'missing'}, where a topk SAE of ${dSae} features needs 1 to ${dSae}.`,
        REMEDY,
        'sae/wrong-k',
      );
    },
  },
  look: { label: 'topk' },
};

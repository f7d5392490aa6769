import { z } from 'zod';
import { checkJson } from '../../disk/json.js';
import { Refusal } from '../../errors/refusal.js';
import { type Architecture, decode, decoderNorms, type SparseForm, squaredDistance } from '../architecture.js';
import { auxiliary, type KOptions, kFlags, kOptions, largest } from './k-largest.js';

export type TopKOptions = KOptions;

function form({ k, kAux, auxCoefficient }: TopKOptions): SparseForm {
  return {
    select: { kind: 'k-per-token', bias: 'b_enc', k },
    rule: 'relu',
    penalty: 'none',
    ...(auxCoefficient > 0 && { auxK: { k: kAux, coefficient: auxCoefficient } }),
  };
}

const cfgSchema = z.looseObject({
  k: z.number().int().positive().nullish(),
  rescale_acts_by_decoder_norm: z.boolean().default(false),
});
const REMEDY = 'Use the cfg.json that came with the weights, or train the SAE again.';

/** The k largest of p + b_enc of a token, then ReLU; trained with AuxK. */
export const topk: Architecture<TopKOptions> = {
  name: 'topk',
  about: 'TopK + AuxK, Gao et al. 2024',
  parameters: ['W_enc', 'W_dec', 'b_dec', 'b_enc'],
  proportional: ['b_dec', 'b_enc'],
  competes: true,
  encode(g, w, { p }, { k, rescale_acts_by_decoder_norm }) {
    const pre = g.add(p, w.b_enc!);
    return largest(g, rescale_acts_by_decoder_norm ? g.mul(pre, decoderNorms(g, w)) : pre, g.ints(k!));
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
  training: {
    flags: kFlags,
    penalised: false,
    options: (given, sizes) => kOptions('topk', given, sizes),
    trains: () => topk.parameters,
    forward: ({ k }) => ({ k, rescale_acts_by_decoder_norm: false }),
    sparseStart: { kind: 'scale', firing: ({ k }) => k },
    loss(g, w, batch, chosen) {
      const pre = g.add(batch.x.p, w.b_enc!);
      const f = largest(g, pre, g.ints(chosen.k));
      const yHat = decode(g, w, f);
      return { f, mse: squaredDistance(g, yHat, batch.y), auxiliary: auxiliary(g, w, { pre, yHat }, batch, chosen) };
    },
    sparse: form,
    cuda: form,
    resampling: { unsupported: 'its auxiliary loss is what revives dead features' },
  },
};

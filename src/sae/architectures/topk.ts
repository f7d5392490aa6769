import { z } from 'zod';
import { checkJson } from '../../disk/json.js';
import { Refusal, UsageRefusal } from '../../errors/refusal.js';
import {
  type Architecture,
  decode,
  decoderNorms,
  type SparseForm,
  squaredDistance,
  type Unsupported,
} from '../architecture.js';
import type { Sizes } from '../sae.js';
import { auxiliary, type KOptions, kFlags, kOptions, largest } from './k-largest.js';

export interface TopKOptions extends KOptions {
  /** Is there a second squared error, for the 4 k largest, with an eighth of the weight? */
  readonly multiTopk?: true;
}

/** Multi-TopK (Gao et al. 2024, section 4.3): multiple of k, and the weight of that error. */
const MULTI = { times: 4, weight: 1 / 8 } as const;

const flags = {
  ...kFlags,
  multiTopk: z
    .boolean()
    .optional()
    .meta({ default: false })
    .describe(
      'also let the 4 k largest features of a topk SAE reconstruct the target, with an eighth of the weight, so that the SAE also works with other k (Gao et al. 2024); only with --engine reference',
    ),
};

/** @throws UsageRefusal if there are fewer than 4 k features, or a count is out of range */
function options(given: Readonly<Record<string, unknown>>, sizes: Sizes): TopKOptions {
  const chosen = kOptions('topk', given, sizes);
  if (given.multiTopk !== true) return chosen;
  if (MULTI.times * chosen.k <= sizes.dSae) return { ...chosen, multiTopk: true };
  throw new UsageRefusal(
    `--multi-topk uses the ${MULTI.times * chosen.k} largest per token, more than the ${sizes.dSae} features of --d-sae.`,
    'Use a smaller --k, or omit --multi-topk.',
    'train/architecture-flags',
  );
}

function form({ k, kAux, auxCoefficient, multiTopk }: TopKOptions): SparseForm | Unsupported {
  if (multiTopk) return { unsupported: '--multi-topk needs two reconstructions per token, but it selects for one' };
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

/** The k largest of p + b_enc per token, then ReLU; trained with AuxK. */
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
        `${path}: k is ${k ?? 'missing'}; a topk SAE of ${dSae} features needs 1 to ${dSae}.`,
        REMEDY,
        'sae/wrong-k',
      );
    },
  },
  look: { label: 'topk' },
  training: {
    flags,
    penalised: false,
    options,
    trains: () => topk.parameters,
    forward: ({ k }) => ({ k, rescale_acts_by_decoder_norm: false }),
    sparseStart: { kind: 'scale', firing: ({ k }) => k },
    loss(g, w, batch, chosen) {
      const pre = g.add(batch.x.p, w.b_enc!);
      const f = largest(g, pre, g.ints(chosen.k));
      const yHat = decode(g, w, f);
      const terms = [auxiliary(g, w, { pre, yHat }, batch, chosen) ?? []].flat();
      if (chosen.multiTopk) {
        const wide = squaredDistance(g, decode(g, w, largest(g, pre, g.ints(MULTI.times * chosen.k))), batch.y);
        terms.push(g.mul(wide, g.scalar(MULTI.weight)));
      }
      return {
        f,
        mse: squaredDistance(g, yHat, batch.y),
        auxiliary: terms.length > 0 ? terms.reduce((sum, term) => g.add(sum, term)) : undefined,
      };
    },
    sparse: form,
    cuda: form,
    resampling: { unsupported: 'its auxiliary loss is what revives dead features' },
  },
};

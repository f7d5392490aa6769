import { type Architecture, decode, type SparseForm, squaredDistance } from '../architecture.js';
import { jumprelu } from './jumprelu.js';
import { auxiliary, type KOptions, kFlags, kOptions, largestOfBatch } from './k-largest.js';

export type BatchTopKOptions = KOptions;

/**
 * Weight of a step in the running threshold, as in SAELens's batchtopk_sae.py (6.54.12, `topk_threshold_lr`). It starts
 * at 0: after t steps with a constant smallest activation it is 1 − 0.99^t of that, and is divided by this factor when
 * saved (train/running-mean.ts).
 */
export const THRESHOLD_SHARE = 0.01;

function form({ k, kAux, auxCoefficient }: BatchTopKOptions): SparseForm {
  return {
    select: { kind: 'k-per-batch', bias: 'b_enc', k },
    rule: 'relu',
    penalty: 'none',
    ...(auxCoefficient > 0 && { auxK: { k: kAux, coefficient: auxCoefficient } }),
  };
}

/**
 * The k · B largest of p + b_enc in a batch of B tokens, then ReLU; trained with AuxK. A single token has no batch: a
 * trained SAE fires above a threshold, the running mean of the smallest activation kept in a batch.
 */
export const batchtopk: Architecture<BatchTopKOptions> = {
  name: 'batchtopk',
  about: 'BatchTopK + AuxK, Bussmann et al. 2024',
  parameters: jumprelu.parameters,
  proportional: jumprelu.proportional,
  encode: jumprelu.encode,
  unit: jumprelu.unit,
  writtenAs: { jumprelu: (w) => w },
  saelens: { names: [], savedAs: { architecture: 'jumprelu', training: 'batchtopk' } },
  look: { label: 'batchtopk' },
  training: {
    flags: kFlags,
    penalised: false,
    options: (given, sizes) => kOptions('batchtopk', given, sizes),
    trains: () => batchtopk.parameters.filter((name) => name !== 'threshold'),
    follows: { parameter: 'threshold', share: THRESHOLD_SHARE },
    sparseStart: { kind: 'scale', firing: ({ k }) => k },
    loss(g, w, batch, chosen) {
      const pre = g.add(batch.x.p, w.b_enc!);
      const f = largestOfBatch(g, pre, chosen.k);
      const yHat = decode(g, w, f);
      return { f, mse: squaredDistance(g, yHat, batch.y), auxiliary: auxiliary(g, w, { pre, yHat }, batch, chosen) };
    },
    sparse: form,
    cuda: form,
    resampling: { unsupported: 'its auxiliary loss is what revives dead features' },
  },
};

import { z } from 'zod';
import { checkJson } from '../../disk/json.js';
import { Refusal, UsageRefusal } from '../../errors/refusal.js';
import type { GraphBuilder, Value } from '../../onnx/graph.js';
import { zerosLike } from '../../onnx/shapes.js';
import {
  type Architecture,
  decode,
  decoderNorms,
  type LossInput,
  type ParameterValues,
  type SparseForm,
  squaredDeviation,
  squaredDistance,
} from '../architecture.js';
import type { Sizes } from '../sae.js';

export interface TopKOptions {
  /** Features of a token, at most. */
  readonly k: number;
  /** Dead features of a token that reconstruct the error, at most. */
  readonly kAux: number;
  /** α, the weight of the auxiliary loss. */
  readonly auxCoefficient: number;
}

/** Gao et al. 2024, section A.2. */
const USUAL_COEFFICIENT = 1 / 32;

const flags = {
  k: z.int().positive().optional().describe('features per token of a topk SAE, k'),
  kAux: z
    .int()
    .positive()
    .optional()
    .describe(
      'dead features per token that the auxiliary loss of a topk SAE has reconstruct its error, at most [default: half of d_in]',
    ),
  auxCoefficient: z
    .number()
    .nonnegative()
    .optional()
    .meta({ default: USUAL_COEFFICIENT })
    .describe('weight of the auxiliary loss of a topk SAE, α; 0: none'),
};

/** @throws UsageRefusal where k is missing, or larger than the dictionary */
function options(given: Readonly<Record<string, unknown>>, { dIn, dSae }: Sizes): TopKOptions {
  const { k, kAux, auxCoefficient } = z.looseObject(flags).parse(given);
  if (k === undefined) {
    throw new UsageRefusal(
      '--arch topk needs --k, the number of features per token.',
      'Add --k, 64 say.',
      'train/architecture-flags',
    );
  }
  for (const [flag, count] of [
    ['k', k],
    ['k-aux', kAux ?? 0],
  ] as const) {
    if (count <= dSae) continue;
    throw new UsageRefusal(
      `--${flag} ${count} is more than the ${dSae} features of --d-sae.`,
      `Use a smaller --${flag}.`,
      'train/architecture-flags',
    );
  }
  const usual = Math.min(dSae, Math.max(1, Math.floor(dIn / 2)));
  return { k, kAux: kAux ?? usual, auxCoefficient: auxCoefficient ?? USUAL_COEFFICIENT };
}

/** The `count` largest values of each token, after ReLU, where they are; the rest is zero. Ties go to the lower feature. */
function largest(g: GraphBuilder, pre: Value, count: Value): Value {
  const [values, indices] = g.ops('TopK', [pre, count], 2, { axis: -1 });
  return g.op('ScatterElements', [zerosLike(g, pre), indices!, g.relu(values!)], { axis: -1 });
}

/** Mean over the batch of |v − v̄|², a scalar. */
function variance(g: GraphBuilder, v: Value): Value {
  return g.op('ReduceMean', [squaredDeviation(g, v), g.ints(0)], { keepdims: 0 });
}

/**
 * AuxK, Gao et al. 2024, section A.2: the largest of the dead features reconstruct the error e, stopped, without a bias.
 * α |e − ê|², over var(e) as there, times var(y), since the main loss is not divided by var(y) here. Without a dead
 * feature, or where all errors are alike, there is none.
 */
function auxiliary(
  g: GraphBuilder,
  w: ParameterValues,
  { pre, yHat }: { readonly pre: Value; readonly yHat: Value },
  { y, target, dead }: LossInput,
  { kAux, auxCoefficient }: TopKOptions,
): Value {
  const e = g.stopGradient(g.sub(y, yHat));
  const allDead = g.reduceSum(dead, [0], true);
  const count = g.op('Min', [g.cast(allDead, 'int64'), g.ints(kAux)]);
  const eHat = g.matmul(largest(g, g.mul(g.relu(pre), dead), count), w.W_dec!);
  const left = variance(g, e);
  const any = g.mul(g.positive(left), g.positive(g.reduceSum(allDead, [0])));
  const ratio = g.op('Where', [g.op('Greater', [any, g.scalar(0)]), g.div(variance(g, target), left), g.scalar(0)]);
  return g.mul(squaredDistance(g, e, eHat), g.mul(ratio, g.scalar(auxCoefficient)));
}

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
    flags,
    penalised: false,
    options,
    trains: () => topk.parameters,
    forward: ({ k }) => ({ k, rescale_acts_by_decoder_norm: false }),
    loss(g, w, batch, chosen) {
      const pre = g.add(batch.x.p, w.b_enc!);
      const f = largest(g, pre, g.ints(chosen.k));
      const yHat = decode(g, w, f);
      const mse = squaredDistance(g, yHat, batch.y);
      return {
        f,
        mse,
        auxiliary: chosen.auxCoefficient > 0 ? auxiliary(g, w, { pre, yHat }, batch, chosen) : undefined,
      };
    },
    sparse: form,
    cuda: form,
    resampling: { unsupported: 'its auxiliary loss is what revives dead features' },
  },
};

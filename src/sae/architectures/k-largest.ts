import { z } from 'zod';
import { UsageRefusal } from '../../errors/refusal.js';
import type { GraphBuilder, Value } from '../../onnx/graph.js';
import { zerosLike } from '../../onnx/shapes.js';
import { type LossInput, type ParameterValues, squaredDeviation, squaredDistance } from '../architecture.js';
import type { ArchitectureName, Sizes } from '../sae.js';

// Shared by architectures that keep the k largest pre-activations and revive dead features by AuxK.

export interface KOptions {
  /** Features per token: maximum, or average. */
  readonly k: number;
  /** Max dead features per token that reconstruct the error. */
  readonly kAux: number;
  /** α, the weight of the auxiliary loss. */
  readonly auxCoefficient: number;
}

/** Gao et al. 2024, section A.2. */
const USUAL_COEFFICIENT = 1 / 32;

export const kFlags = {
  k: z
    .int()
    .positive()
    .optional()
    .describe('features per token: of every token (topk), or on average (batchtopk, matryoshka)'),
  kAux: z
    .int()
    .positive()
    .optional()
    .describe(
      'maximum number of dead features per token that reconstruct the error in the auxiliary loss [default: half of d_in]',
    ),
  auxCoefficient: z
    .number()
    .nonnegative()
    .optional()
    .meta({ default: USUAL_COEFFICIENT })
    .describe('weight of the auxiliary loss of dead features, α; 0: none'),
};

/** @throws UsageRefusal if k is missing, or a count exceeds the dictionary */
export function kOptions(
  arch: ArchitectureName,
  given: Readonly<Record<string, unknown>>,
  { dIn, dSae }: Sizes,
): KOptions {
  const { k, kAux, auxCoefficient } = z.looseObject(kFlags).parse(given);
  if (k === undefined) {
    throw new UsageRefusal(
      `--arch ${arch} needs --k, the number of features per token.`,
      'Add --k, for example --k 64.',
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

/** The `count` largest values of each token after ReLU, in place; the rest is zero. Ties go to the lower feature. */
export function largest(g: GraphBuilder, pre: Value, count: Value): Value {
  const [values, indices] = g.ops('TopK', [pre, count], 2, { axis: -1 });
  return g.op('ScatterElements', [zerosLike(g, pre), indices!, g.relu(values!)], { axis: -1 });
}

/**
 * The k · B largest values of a batch [B, d_sae] after ReLU, in place; the rest is zero. Ties go to the lower feature,
 * and within a feature to the lower token.
 */
export function largestOfBatch(g: GraphBuilder, pre: Value, k: number): Value {
  const byFeature = g.op('Transpose', [pre]);
  const count = g.mul(g.gather(g.op('Shape', [pre]), g.ints(0)), g.ints(k));
  const kept = largest(g, g.reshape(byFeature, -1), count);
  return g.op('Transpose', [g.op('Reshape', [kept, g.op('Shape', [byFeature])])]);
}

/** Mean over the batch of |v − v̄|², a scalar. */
function variance(g: GraphBuilder, v: Value): Value {
  return g.op('ReduceMean', [squaredDeviation(g, v), g.ints(0)], { keepdims: 0 });
}

/**
 * AuxK, Gao et al. 2024, section A.2: the largest dead features reconstruct the error e (with gradients stopped),
 * without a bias. α |e − ê|² is divided by var(e) as in the paper, and multiplied by var(y), since the main loss is not
 * divided by var(y) here. It is 0 without dead features, or if all errors are equal.
 *
 * @returns [tokens]; undefined if α is 0
 */
export function auxiliary(
  g: GraphBuilder,
  w: ParameterValues,
  { pre, yHat }: { readonly pre: Value; readonly yHat: Value },
  { y, target, dead }: LossInput,
  { kAux, auxCoefficient }: KOptions,
): Value | undefined {
  if (auxCoefficient === 0) return undefined;
  const e = g.stopGradient(g.sub(y, yHat));
  const allDead = g.reduceSum(dead, [0], true);
  const count = g.op('Min', [g.cast(allDead, 'int64'), g.ints(kAux)]);
  const eHat = g.matmul(largest(g, g.mul(g.relu(pre), dead), count), w.W_dec!);
  const left = variance(g, e);
  const any = g.mul(g.positive(left), g.positive(g.reduceSum(allDead, [0])));
  const ratio = g.op('Where', [g.op('Greater', [any, g.scalar(0)]), g.div(variance(g, target), left), g.scalar(0)]);
  return g.mul(squaredDistance(g, e, eHat), g.mul(ratio, g.scalar(auxCoefficient)));
}

import { z } from 'zod';
import { UsageRefusal } from '../../errors/refusal.js';
import type { GraphBuilder, Value } from '../../onnx/graph.js';
import { type Architecture, decode, type ParameterValues, type SparseForm, squaredDistance } from '../architecture.js';
import type { Sizes } from '../sae.js';
import { THRESHOLD_SHARE } from './batchtopk.js';
import { jumprelu } from './jumprelu.js';
import { auxiliary, type KOptions, kFlags, kOptions, largestOfBatch } from './k-largest.js';

export interface MatryoshkaOptions extends KOptions {
  /** Ascending; the last is d_sae. */
  readonly prefixes: readonly number[];
  /** Weight of each prefix's squared error. */
  readonly prefixWeights: readonly number[];
}

const flags = {
  ...kFlags,
  prefixes: z
    .array(z.int().positive())
    .min(1)
    .optional()
    .describe(
      'prefix sizes of a matryoshka SAE: with 256,512,1536 its first 256, 512 and 1536 features each reconstruct the target by themselves; ascending, --d-sae as the last may be omitted',
    ),
  prefixWeights: z
    .array(z.number().positive())
    .min(1)
    .optional()
    .describe('weight of the squared error of each of --prefixes, --d-sae included [default: 1 for each]'),
};

const refused = (cause: string, remedy: string) => new UsageRefusal(cause, remedy, 'train/architecture-flags');

/** @throws UsageRefusal if prefixes are missing or do not ascend to d_sae, or there is not one weight per prefix */
function options(given: Readonly<Record<string, unknown>>, sizes: Sizes): MatryoshkaOptions {
  const { dSae } = sizes;
  const chosen = kOptions('matryoshka', given, sizes);
  const { prefixes: asked, prefixWeights } = z.looseObject(flags).parse(given);
  if (asked === undefined) {
    throw refused(
      '--arch matryoshka needs --prefixes, the prefix sizes that reconstruct the target by themselves.',
      `Add --prefixes, for example --prefixes ${Math.ceil(dSae / 4)},${Math.ceil(dSae / 2)}.`,
    );
  }
  const falling = asked.findIndex((width, i) => i > 0 && width <= asked[i - 1]!);
  if (falling >= 0) {
    throw refused(
      `--prefixes has ${asked[falling]} after ${asked[falling - 1]}, but must be ascending.`,
      'Give each width once, smallest first.',
    );
  }
  const largest = asked.at(-1)!;
  if (largest > dSae) {
    throw refused(
      `--prefixes has ${largest}, more than the ${dSae} features of --d-sae.`,
      'Use smaller --prefixes, or a larger --d-sae.',
    );
  }
  const prefixes = largest === dSae ? asked : [...asked, dSae];
  if (prefixWeights && prefixWeights.length !== prefixes.length) {
    throw refused(
      `--prefix-weights has ${prefixWeights.length} numbers, but the prefixes are ${prefixes.join(', ')}.`,
      `Give ${prefixes.length}, one for each.`,
    );
  }
  return { ...chosen, prefixes, prefixWeights: prefixWeights ?? prefixes.map(() => 1) };
}

/** |y − ŷ|² for the first features alone, [tokens]. */
function errorOf(g: GraphBuilder, w: ParameterValues, { f, y }: Record<'f' | 'y', Value>, width: number, dSae: number) {
  const first = Float32Array.from({ length: dSae }, (_, j) => Number(j < width));
  return squaredDistance(g, decode(g, w, g.mul(f, g.table(`first_${width}`, [dSae], first))), y);
}

function form({ k, kAux, auxCoefficient, prefixes, prefixWeights }: MatryoshkaOptions): SparseForm {
  return {
    select: { kind: 'k-per-batch', bias: 'b_enc', k },
    rule: 'relu',
    penalty: 'none',
    prefixes: prefixes.map((width, i) => ({ width, weight: prefixWeights[i]! })),
    ...(auxCoefficient > 0 && { auxK: { k: kAux, coefficient: auxCoefficient } }),
  };
}

/**
 * BatchTopK whose leading features reconstruct the target by themselves, for several prefix sizes: Σ_i w_i |y − ŷ_i|²,
 * where ŷ_i uses the first m_i features and b_dec. A single selection over all features.
 */
export const matryoshka: Architecture<MatryoshkaOptions> = {
  name: 'matryoshka',
  about: 'Matryoshka BatchTopK + AuxK, Bussmann et al. 2025',
  parameters: jumprelu.parameters,
  proportional: jumprelu.proportional,
  encode: jumprelu.encode,
  unit: jumprelu.unit,
  writtenAs: { jumprelu: (w) => w, batchtopk: (w) => w },
  saelens: { names: [], savedAs: { architecture: 'jumprelu', training: 'matryoshka_batchtopk' } },
  look: { label: 'matryoshka' },
  training: {
    flags,
    penalised: false,
    options,
    trains: () => matryoshka.parameters.filter((name) => name !== 'threshold'),
    follows: { parameter: 'threshold', share: THRESHOLD_SHARE },
    sparseStart: { kind: 'scale', firing: ({ k }) => k },
    loss(g, w, batch, chosen) {
      const { y, sizes } = batch;
      const pre = g.add(batch.x.p, w.b_enc!);
      const f = largestOfBatch(g, pre, chosen.k);
      const yHat = decode(g, w, f);
      const mse = squaredDistance(g, yHat, y);
      // |y − ŷ|² of the complete SAE is reported as the error once; the rest of the sum is auxiliary.
      const terms = chosen.prefixes.map((width, i) => {
        const weight = chosen.prefixWeights[i]!;
        const [error, share] =
          width === sizes.dSae ? [mse, weight - 1] : [errorOf(g, w, { f, y }, width, sizes.dSae), weight];
        return g.mul(error, g.scalar(share));
      });
      const revival = auxiliary(g, w, { pre, yHat }, batch, chosen);
      const others = revival ? [...terms, revival] : terms;
      return { f, mse, auxiliary: others.reduce((sum, term) => g.add(sum, term)) };
    },
    sparse: form,
    cuda: form,
    resampling: { unsupported: 'its auxiliary loss is what revives dead features' },
  },
};

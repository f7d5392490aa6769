import { z } from 'zod';
import { Refusal, UsageRefusal } from '../../errors/refusal.js';
import type { GraphBuilder, Value } from '../../onnx/graph.js';
import {
  type Architecture,
  decode,
  type EncoderInput,
  type Loss,
  type LossInput,
  type ParameterValues,
  type SparseForm,
  squaredDistance,
} from '../architecture.js';
import type { Parameters } from '../sae.js';

/** Ablations; they can be combined, except for the pairs that `options` refuses. */
const ablations = ['untied-encoder', 'no-r-mag', 'unfrozen-decoder', 'no-auxiliary', 'l1-on-f'] as const;
type Ablation = (typeof ablations)[number];

export interface GatedOptions {
  /** Without duplicates, in the order of `ablations`. */
  readonly ablate: readonly Ablation[];
}

/** Pairs in which one leaves the other without effect. */
const CONTRADICTIONS: readonly (readonly [Ablation, Ablation, string])[] = [
  ['untied-encoder', 'no-r-mag', 'an untied encoder has no r_mag'],
  ['unfrozen-decoder', 'no-auxiliary', 'without an auxiliary loss nothing of its decoder is frozen'],
];

/** The ablations in words; unknown names of another version are shown unchanged. */
const WORDS: Readonly<Record<string, string>> = {
  'untied-encoder': 'untied encoder',
  'no-r-mag': 'no r_mag',
  'unfrozen-decoder': 'unfrozen decoder',
  'no-auxiliary': 'no auxiliary loss',
  'l1-on-f': 'L1 on f',
} satisfies Record<Ablation, string>;

/** The gate, before and after its ReLU, and the resulting f. */
export interface Gated {
  readonly piGate: Value;
  readonly f: Value;
}

/** f = 1[π_gate > 0] ReLU(π_mag); `scaled` is π_mag without its bias (paper, eq. 6). */
export function gate(g: GraphBuilder, w: ParameterValues, p: Value, scaled: Value): Gated {
  const piGate = g.add(p, w.b_gate!);
  const magnitude = g.add(scaled, w.b_mag!);
  return { piGate, f: g.mul(g.positive(piGate), g.relu(magnitude)) };
}

/** Weights tied by W_mag = exp(r_mag) ∘ W_gate (paper, eq. 7). */
function tied(g: GraphBuilder, w: ParameterValues, { p }: EncoderInput): Gated {
  return gate(g, w, p, g.mul(p, g.op('Exp', [w.r_mag!])));
}

/**
 * Eq. 8 of the paper, or an ablation of it. The decoder is frozen in the auxiliary term, which trains the gate but
 * neither W_dec nor the decoder's b_dec, unless this is ablated.
 */
export function gatedLoss(
  g: GraphBuilder,
  w: ParameterValues,
  { piGate, f }: Gated,
  { y, sparsity }: LossInput,
  { ablate }: GatedOptions,
): Loss {
  const reluGate = g.relu(piGate);
  const frozen = { W_dec: g.stopGradient(w.W_dec!), b_dec: g.stopGradient(w.b_dec!) };
  const unfrozen = ablate.includes('unfrozen-decoder');
  // A skip connection is part of the decoder.
  const [decoder, wanted] = unfrozen ? [w, y] : [frozen, g.stopGradient(y)];
  return {
    f,
    mse: squaredDistance(g, decode(g, w, f), y),
    penalty: g.mul(sparsity, g.reduceSum(ablate.includes('l1-on-f') ? f : reluGate, [1])),
    auxiliary: ablate.includes('no-auxiliary') ? undefined : squaredDistance(g, decode(g, decoder, reluGate), wanted),
  };
}

function form({ ablate }: GatedOptions): SparseForm {
  return {
    select: { kind: 'positive', bias: 'b_gate' },
    rule: 'gated',
    second: ablate.includes('no-auxiliary') ? undefined : { trainsDecoder: ablate.includes('unfrozen-decoder') },
    penalty: ablate.includes('l1-on-f') ? 'f' : 'g',
  };
}

/** @throws UsageRefusal if ablations contradict each other */
function options(flags: Readonly<Record<string, unknown>>): GatedOptions {
  const given = (flags.ablate ?? []) as readonly Ablation[];
  for (const [a, b, because] of CONTRADICTIONS) {
    if (given.includes(a) && given.includes(b)) {
      throw new UsageRefusal(
        `--ablate ${a} and ${b} exclude each other: ${because}.`,
        'Give one of them.',
        'train/ablations-together',
      );
    }
  }
  return { ablate: ablations.filter((name) => given.includes(name)) };
}

/** W [d_in, d_sae] ∘ exp(r_mag), column by column. */
function magnified(W: Float32Array, r_mag: Float32Array): Float32Array {
  const e = Float64Array.from(r_mag, Math.exp);
  return W.map((value, k) => value * e[k % e.length]!);
}

/**
 * Makes the gate open where the magnitude becomes positive. With b_mag = 0 it would open at a magnitude of t instead,
 * and features would start too large.
 */
export function gateOpening(thresholds: Float32Array): Parameters {
  const bias = thresholds.map((t) => -t);
  return { b_gate: bias, b_mag: bias.slice() };
}

const words = (value: unknown) => (Array.isArray(value) ? value.filter((word) => typeof word === 'string') : []);

/** Its ablations, in words. */
export const ablated = (made: Readonly<Record<string, unknown>>) =>
  words(made.ablate).map((name) => WORDS[name] ?? name);

/** Gated SAEs (Rajamanoharan et al. 2024, arXiv 2404.16014). */
export const gated: Architecture<GatedOptions> = {
  name: 'gated',
  about: 'Rajamanoharan et al. 2024',
  parameters: ['W_enc', 'W_dec', 'b_dec', 'b_gate', 'b_mag', 'r_mag'],
  proportional: ['b_dec', 'b_gate', 'b_mag'],
  encode: (g, w, x) => tied(g, w, x).f,
  unit: ({ b_gate, b_mag, r_mag }, j) => {
    const [opens, magnitude, gain] = [b_gate![j]!, b_mag![j]!, Math.exp(r_mag![j]!)];
    return (p) => (p + opens > 0 ? Math.max(0, gain * p + magnitude) : 0);
  },
  writtenAs: {
    /** W_mag = W_gate ∘ exp(r_mag), the paper's eq. 7. */
    gated_untied: ({ r_mag, W_enc, ...rest }) => ({ ...rest, W_enc, W_mag: magnified(W_enc!, r_mag!) }),
    /**
     * Appendix E: with e = exp(r_mag), π_gate = p + b_gate > 0 is equivalent to e p + b_mag > b_mag − e b_gate. If that
     * gap is negative, the gate opens before the magnitude is positive, and ReLU decides: threshold 0.
     */
    jumprelu: ({ W_enc, W_dec, b_dec, b_gate, b_mag, r_mag }) => ({
      W_enc: magnified(W_enc!, r_mag!),
      W_dec,
      b_dec,
      b_enc: b_mag!.slice(),
      threshold: b_mag!.map((bias, j) => Math.max(0, bias - Math.exp(r_mag![j]!) * b_gate![j]!)),
    }),
  },
  saelens: { names: ['gated'] },
  look: {
    label: 'gated',
    colour: 0,
    family: (made, trained, only) =>
      // The frozen baseline with learned r_mag and b_mag of section 5.2, which is saved as a gated SAE.
      [...trained].sort().join() === 'b_mag,r_mag'
        ? ['standard', ...ablated(made), 'rescaled & shifted']
        : ['gated', ...ablated(made), ...only],
  },
  training: {
    flags: {
      ablate: z
        .array(z.enum(ablations))
        .optional()
        .describe(
          'ablate parts of the gated SAE, separated by commas. From section 5.1 of the paper: untied-encoder (separate W_mag, b_mag), no-r-mag (r_mag stays 0), unfrozen-decoder (the auxiliary loss trains W_dec and b_dec, too). From its eq. 8: no-auxiliary (no auxiliary loss), l1-on-f (penalty λ Σ f). For the frozen baseline of section 5.2, see --train',
        ),
    },
    penalised: true,
    options,
    variant: ({ ablate }) => (ablate.includes('untied-encoder') ? 'gated_untied' : 'gated'),
    trains: ({ ablate }) => gated.parameters.filter((name) => name !== 'r_mag' || !ablate.includes('no-r-mag')),
    sparseStart: { kind: 'thresholds', opening: gateOpening },
    checkStart({ parameters }, { ablate }, path) {
      if (!ablate.includes('no-r-mag') || !parameters.r_mag!.some((r) => r !== 0)) return;
      throw new Refusal(
        `${path} has an r_mag that is not 0, and --ablate no-r-mag keeps it at 0.`,
        'Use --train to freeze r_mag as it is.',
        'train/init-r-mag',
      );
    },
    loss: (g, w, batch, chosen) => gatedLoss(g, w, tied(g, w, batch.x), batch, chosen),
    sparse: form,
    cuda: form,
  },
};

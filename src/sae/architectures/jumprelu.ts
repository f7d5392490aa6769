import { z } from 'zod';
import { UsageRefusal } from '../../errors/refusal.js';
import type { GraphBuilder, Value } from '../../onnx/graph.js';
import {
  type Architecture,
  decode,
  type Jump,
  type JumpPenalty,
  type Loss,
  type LossInput,
  type ParameterValues,
  type SparseForm,
  squaredDistance,
} from '../architecture.js';

/**
 * With the quadratic penalty, λ is adjusted until L0 is this close to the target; a larger λ costs more than it gains.
 */
const NEAR_TARGET = 1.05;

const penalties = ['step', 'tanh', 'quadratic'] as const;

export interface JumpReluOptions {
  /** The penalty: L0, Σ tanh(tanhScale · f), or (2 / T) (L0 − T)² with T = targetL0. */
  readonly sparsityLoss: (typeof penalties)[number];
  readonly tanhScale?: number;
  readonly targetL0?: number;
  /** ε, for activations as trained on. */
  readonly bandwidth: number;
  /** Do straight-through estimators also train the encoder? */
  readonly steToEncoder: boolean;
  /** Initial θ; USUAL if absent. */
  readonly thresholdInit?: number;
  /** Weight of Σ ReLU(θ − h) over dead features; 0: none. */
  readonly preActLoss: number;
}

/**
 * θ and c are SAELens's. Its ε of 0.05 without estimators for the encoder moves a feature's threshold by one learning
 * rate per step, and needs a hundred times as many steps; docs/explanation/training.md has the measurements.
 */
const USUAL = { threshold: 0.01, bandwidth: 0.5, tanhScale: 4, steToEncoder: true, preActLoss: 0 } as const;
/** λ if --l1 is not given. */
const USUAL_L1 = { step: 0.5, tanh: 0.5, quadratic: 1 } as const;

const flags = {
  sparsityLoss: z
    .enum(penalties)
    .optional()
    .describe(
      'penalty of a jumprelu SAE; step: L0 (Rajamanoharan et al. 2024b); tanh: Σ tanh(4 f) (Anthropic, January 2025); quadratic: (2 / T) (L0 − T)², T from --l0 (Gemma Scope 2) [default: step, with --l0 too]',
    ),
  bandwidth: z
    .number()
    .positive()
    .optional()
    .meta({ default: USUAL.bandwidth })
    .describe(
      'ε of a jumprelu SAE: the threshold θ learns from pre-activations within ε / 2 of it, in the scale of training',
    ),
  tanhScale: z
    .number()
    .positive()
    .optional()
    .meta({ default: USUAL.tanhScale })
    .describe('c in Σ tanh(c f), with --sparsity-loss tanh'),
  steToEncoder: z
    .boolean()
    .optional()
    .meta({ default: USUAL.steToEncoder })
    .describe(
      'let the straight-through estimators of a jumprelu SAE also train its encoder, as Anthropic does; --no-ste-to-encoder: the encoder learns from active features only (DeepMind)',
    ),
  thresholdInit: z
    .number()
    .nonnegative()
    .optional()
    .meta({ default: USUAL.threshold })
    .describe('initial θ of a jumprelu SAE, with --start zero'),
  preActLoss: z
    .number()
    .nonnegative()
    .optional()
    .meta({ default: USUAL.preActLoss })
    .describe(
      'weight of Σ ReLU(θ − h) over dead features of a jumprelu SAE, which revives them; Anthropic: 3e-6; 0: none',
    ),
};

/** @throws UsageRefusal if the quadratic penalty has no target, or a flag belongs to another penalty */
function options(given: Readonly<Record<string, unknown>>): JumpReluOptions {
  const chosen = z.looseObject(flags).parse(given);
  const targetL0 = given.l0 as number | undefined;
  const sparsityLoss = chosen.sparsityLoss ?? 'step';
  if (sparsityLoss === 'quadratic' && targetL0 === undefined) {
    throw new UsageRefusal(
      '--sparsity-loss quadratic needs --l0, the L0 it aims at.',
      'Add --l0, for example --l0 64.',
      'train/architecture-flags',
    );
  }
  if (chosen.tanhScale !== undefined && sparsityLoss !== 'tanh') {
    throw new UsageRefusal(
      `--tanh-scale requires --sparsity-loss tanh, but the loss is ${sparsityLoss}.`,
      'Omit --tanh-scale, or add --sparsity-loss tanh.',
      'train/architecture-flags',
    );
  }
  if (chosen.thresholdInit !== undefined && (given.start === 'sparse' || given.init !== undefined)) {
    throw new UsageRefusal(
      `--threshold-init sets θ for --start zero, but ${given.init === undefined ? 'a sparse start sets thresholds itself' : '--init has its own θ'}.`,
      'Omit --threshold-init, or add --start zero.',
      'train/architecture-flags',
    );
  }
  return {
    sparsityLoss,
    ...(sparsityLoss === 'tanh' && { tanhScale: chosen.tanhScale ?? USUAL.tanhScale }),
    ...(sparsityLoss === 'quadratic' && { targetL0 }),
    bandwidth: chosen.bandwidth ?? USUAL.bandwidth,
    steToEncoder: chosen.steToEncoder ?? USUAL.steToEncoder,
    ...(chosen.thresholdInit !== undefined && { thresholdInit: chosen.thresholdInit }),
    preActLoss: chosen.preActLoss ?? USUAL.preActLoss,
  };
}

function penaltyOf({ sparsityLoss, tanhScale, targetL0 }: JumpReluOptions): JumpPenalty {
  if (sparsityLoss === 'tanh') return { kind: 'tanh', scale: tanhScale! };
  return sparsityLoss === 'quadratic' ? { kind: 'quadratic', target: targetL0! } : { kind: 'step' };
}

function jumpOf(chosen: JumpReluOptions): Jump {
  const { bandwidth, steToEncoder, preActLoss } = chosen;
  return { bandwidth, toEncoder: steToEncoder, penalty: penaltyOf(chosen), preAct: preActLoss };
}

function form(chosen: JumpReluOptions): SparseForm {
  const jump = jumpOf(chosen);
  return {
    select: { kind: 'threshold', bias: 'b_enc', window: jump.bandwidth / 2 },
    rule: 'jumprelu',
    jump,
    penalty: 'jump',
  };
}

/** h, 1[h > θ], and K = 1 where |h − θ| < ε/2; [tokens, d_sae]. */
interface Jumps {
  readonly h: Value;
  readonly open: Value;
  readonly near: Value;
}

function jumps(g: GraphBuilder, w: ParameterValues, p: Value, { bandwidth }: Jump): Jumps {
  const h = g.add(p, w.b_enc!);
  const above = g.sub(h, w.threshold!);
  const near = g.op('Less', [g.op('Abs', [above]), g.scalar(bandwidth / 2)]);
  return { h, open: g.positive(above), near: g.cast(near, 'float32') };
}

/**
 * A function of h that jumps by `height` at θ, with an estimator in place of the jump's derivative: −(height/ε) K with
 * respect to θ and, if it trains the encoder, the negative of that with respect to h, plus `slope`.
 */
function jumping(
  g: GraphBuilder,
  value: Value,
  { h, near }: Jumps,
  theta: Value,
  { bandwidth, toEncoder }: Jump,
  { height, slope }: { readonly height: Value; readonly slope?: Value },
): Value {
  return g.withDerivative(value, {
    inputs: [h, theta],
    of(g, gradient) {
      const estimate = g.mul(g.mul(near, g.mul(height, g.scalar(1 / bandwidth))), gradient);
      const own = slope ? g.mul(slope, gradient) : g.mul(gradient, g.scalar(0));
      return [toEncoder ? g.add(own, estimate) : own, g.op('Neg', [estimate])];
    },
  });
}

/** λ times the penalty, [tokens]. */
function penalty(g: GraphBuilder, f: Value, l0: Value, sparsity: Value, chosen: JumpPenalty): Value {
  if (chosen.kind === 'step') return g.mul(sparsity, l0);
  if (chosen.kind === 'tanh') {
    return g.mul(sparsity, g.reduceSum(g.op('Tanh', [g.mul(f, g.scalar(chosen.scale))]), [1]));
  }
  const off = g.sub(l0, g.scalar(chosen.target));
  return g.mul(sparsity, g.mul(g.mul(off, off), g.scalar(2 / chosen.target)));
}

function loss(g: GraphBuilder, w: ParameterValues, batch: LossInput, options: JumpReluOptions): Loss {
  const jump = jumpOf(options);
  const theta = w.threshold!;
  const found = jumps(g, w, batch.x.p, jump);
  const { h, open } = found;
  const f = jumping(g, g.mul(h, open), found, theta, jump, { height: theta, slope: open });
  const step = jumping(g, open, found, theta, jump, { height: g.scalar(1) });
  const silent = g.mul(g.relu(g.sub(theta, h)), batch.dead);
  return {
    f,
    mse: squaredDistance(g, decode(g, w, f), batch.y),
    penalty: penalty(g, f, g.reduceSum(step, [1]), batch.sparsity, jump.penalty),
    auxiliary: jump.preAct > 0 ? g.mul(g.reduceSum(silent, [1]), g.scalar(jump.preAct)) : undefined,
  };
}

/** SAELens's jumprelu: f = 1[p + b_enc > θ] ReLU(p + b_enc), with θ ≥ 0 when trained here. */
export const jumprelu: Architecture<JumpReluOptions> = {
  name: 'jumprelu',
  about: 'Rajamanoharan et al. 2024b',
  parameters: ['W_enc', 'W_dec', 'b_dec', 'b_enc', 'threshold'],
  proportional: ['b_dec', 'b_enc', 'threshold'],
  encode(g, w, { p }) {
    const pre = g.add(p, w.b_enc!);
    return g.mul(g.relu(pre), g.cast(g.op('Greater', [pre, w.threshold!]), 'float32'));
  },
  unit: ({ b_enc, threshold }, j) => {
    const [bias, least] = [b_enc![j]!, threshold![j]!];
    return (p) => (p + bias > least ? Math.max(0, p + bias) : 0);
  },
  saelens: { names: ['jumprelu'] },
  look: {
    label: 'jumprelu',
    family: ({ sparsity_loss: loss }, _, only) => [
      'jumprelu',
      ...(penalties.some((name) => name === loss) ? [`${loss} penalty`] : []),
      ...only,
    ],
  },
  training: {
    flags,
    penalised: true,
    penaltyScales: false,
    adjustsTo: ({ sparsityLoss }) => (sparsityLoss === 'quadratic' ? NEAR_TARGET : 1),
    options,
    trains: () => jumprelu.parameters,
    nonNegative: ['threshold'],
    usualL1: ({ sparsityLoss }) => USUAL_L1[sparsityLoss],
    initial(name, _, size, chosen) {
      if (name !== 'threshold') return undefined;
      return new Float32Array(size).fill(chosen?.thresholdInit ?? USUAL.threshold);
    },
    // θ keeps its initial value, and h reaches it where p reaches t.
    sparseStart: { kind: 'thresholds', opening: (t) => ({ b_enc: t.map((p) => USUAL.threshold - p) }) },
    loss,
    sparse: form,
    cuda: form,
    resampling: { unsupported: '--pre-act-loss is what revives its dead features' },
  },
};

import { GraphBuilder, type Value } from '../../../onnx/graph.js';
import { decode, type ParameterValues, centredInput as preActivationOf } from '../../../sae/architecture.js';
import type { GatedOptions } from '../../../sae/architectures/gated.js';
import { PARAMETERS } from '../../../sae/registry.js';
import { type ParameterName, parameterShape } from '../../../sae/sae.js';
import { ADAM_EPSILON, type EngineSettings, sizesOf } from '../engine.js';
import { isTrained, optionsOf } from '../objective.js';
import { stateShapes } from '../state.js';

/** The metrics output, in order. */
export const METRICS = ['mse', 'l1', 'aux', 'l0', 'variance', 'dead', 'written'] as const;

/**
 * One training step as a dense graph: forward, backward derived by hand (design: docs/architecture.md), Adam. It is the
 * oracle of the faster engines, so it says each formula once, in the paper's order, and saves nothing.
 *
 * Inputs: `x` [batch, d_in], scalars `l1`, `lr`, `correction1` = 1 / (1 − β1^t), `correction2` = 1 / (1 − β2^t), and the
 * state by name. Outputs: `next/<name>` for each of the state, and `metrics`.
 */
export function stepGraph(settings: EngineSettings): Uint8Array {
  const { batch, dIn, architecture } = settings;
  const g = new GraphBuilder('training-step');
  const stored = g.input('x', settings.batchDType, [batch, dIn]);
  const x = g.mul(g.cast(stored, 'float32'), g.scalar(settings.scale));
  const l1 = g.input('l1', 'float32', []);
  const state = new Map<string, Value>();
  for (const [name, shape] of stateShapes(settings)) state.set(name, g.input(name, 'float32', shape));
  const w: ParameterValues = Object.fromEntries(PARAMETERS[architecture].map((name) => [name, state.get(name)!]));

  const step = architecture === 'standard' ? standardStep(g, w, x, l1, batch) : gatedStep(g, w, x, l1, settings);

  step.gradients.W_dec = tangent(g, step.gradients.W_dec!, w.W_dec!);
  const written: Value[] = [];
  const adam = adamUpdate(g, settings, state, written);
  for (const name of PARAMETERS[architecture]) {
    const shape = parameterShape(name, sizesOf(settings));
    if (!isTrained(settings, name)) {
      g.output(`next/${name}`, w[name]!, 'float32', shape);
      continue;
    }
    const updated = adam(name, step.gradients[name]!);
    // A row whose norm overflows is divided to zero, and would look well afterwards.
    if (name === 'W_dec') written.push(g.reduceSumSquare(updated, [0, 1]));
    const next = name === 'W_dec' ? unitRows(g, updated) : updated;
    written.push(sumOfAll(g, next, shape));
    g.output(`next/${name}`, next, 'float32', shape);
  }

  const fired = g.positive(step.f);
  const since = g.mul(g.add(state.get('since_fired')!, g.scalar(batch)), g.sub(g.scalar(1), g.reduceMax(fired, [0])));
  g.output('next/since_fired', since, 'float32', [settings.dSae]);
  const dead = g.reduceSum(g.cast(g.op('GreaterOrEqual', [since, g.scalar(settings.deadWindow)]), 'float32'), [0]);
  // About the first of them: activations that are all alike have no variance at all, not that of rounded means.
  const aboutFirst = g.sub(x, g.gather(x, g.ints(0)));
  const meanX = g.op('ReduceMean', [aboutFirst, g.ints(0)], { keepdims: 1 });
  const metrics = {
    mse: step.mse,
    l1: step.l1,
    aux: step.aux,
    l0: perToken(g, g.reduceSum(fired, [0, 1]), batch),
    variance: perToken(g, g.reduceSumSquare(g.sub(aboutFirst, meanX), [0, 1]), batch),
    dead,
    written: sumOf(g, ...written),
  };
  g.output(
    'metrics',
    g.concat(
      METRICS.map((name) => g.reshape(metrics[name], 1)),
      0,
    ),
    'float32',
    [METRICS.length],
  );
  return g.encode();
}

interface Step {
  readonly f: Value;
  readonly gradients: Partial<Record<ParameterName, Value>>;
  readonly mse: Value;
  readonly l1: Value;
  readonly aux: Value;
}

/** Gated SAE: loss of the paper's eq. 8, or an ablation of it, and its gradient. */
function gatedStep(g: GraphBuilder, w: ParameterValues, x: Value, l1: Value, settings: EngineSettings): Step {
  const { batch, architecture } = settings;
  const { ablate } = optionsOf(settings) as GatedOptions;
  const auxiliary = !ablate.includes('no-auxiliary');
  const unfrozen = auxiliary && ablate.includes('unfrozen-decoder');
  const l1OnF = ablate.includes('l1-on-f');
  const { centred, p } = preActivation(g, w, x);
  const tied = architecture === 'gated' ? gatedEncoder(g, w, p) : undefined;
  const { piGate, open, magnitude, f } = tied ?? untiedEncoder(g, w, centred, p);
  const reluGate = g.relu(piGate);
  const error = g.sub(decode(g, w, f), x);
  // The decoder is frozen here: the auxiliary loss trains the gate, and neither W_dec nor b_dec of the decoder, unless
  // that is what is ablated.
  const auxError = g.sub(decode(g, w, reluGate), x);

  const twoOverB = g.scalar(2 / batch);
  const r = g.mul(error, twoOverB);
  const rAux = g.mul(auxError, twoOverB);
  const penalty = perToken(g, l1, batch);
  const df = sumOf(g, g.matmul(r, w.W_dec!, { transB: true }), l1OnF && penalty);
  const dMagnitude = g.mul(df, g.mul(open, g.positive(magnitude)));
  const dReluGate = sumOf(g, auxiliary && g.matmul(rAux, w.W_dec!, { transB: true }), !l1OnF && penalty);
  const dPiGate = g.mul(dReluGate, open);
  const dp = tied ? g.add(dPiGate, g.mul(dMagnitude, tied.expRMag)) : dPiGate;
  const gradients: Step['gradients'] = {
    W_enc: g.matmul(centred, dp, { transA: true }),
    W_dec: sumOf(g, g.matmul(f, r, { transA: true }), unfrozen && g.matmul(reluGate, rAux, { transA: true })),
    b_dec: sumOf(g, biasGradient(g, w, r, dp), unfrozen && g.reduceSum(rAux, [0])),
    b_gate: g.reduceSum(dPiGate, [0]),
    b_mag: g.reduceSum(dMagnitude, [0]),
  };
  if (tied) gradients.r_mag = g.reduceSum(g.mul(dMagnitude, g.mul(p, tied.expRMag)), [0]);
  else {
    gradients.W_mag = g.matmul(centred, dMagnitude, { transA: true });
    gradients.b_dec = g.sub(gradients.b_dec!, g.matmul(w.W_mag!, g.reduceSum(dMagnitude, [0])));
  }
  return {
    f,
    gradients,
    mse: perToken(g, g.reduceSumSquare(error, [0, 1]), batch),
    l1: g.mul(l1, perToken(g, g.reduceSum(l1OnF ? f : reluGate, [0, 1]), batch)),
    aux: auxiliary ? perToken(g, g.reduceSumSquare(auxError, [0, 1]), batch) : g.scalar(0),
  };
}

/** Standard SAE: |x − x̂|² + λ Σ f with unit-norm decoder rows, the paper's baseline. */
function standardStep(g: GraphBuilder, w: ParameterValues, x: Value, l1: Value, batch: number): Step {
  const { centred, p } = preActivation(g, w, x);
  const f = standardEncoder(g, w, p);
  const error = g.sub(decode(g, w, f), x);
  const r = g.mul(error, g.scalar(2 / batch));
  const df = g.add(g.matmul(r, w.W_dec!, { transB: true }), perToken(g, l1, batch));
  const dp = g.mul(df, g.positive(f));
  return {
    f,
    gradients: {
      W_enc: g.matmul(centred, dp, { transA: true }),
      W_dec: g.matmul(f, r, { transA: true }),
      b_dec: biasGradient(g, w, r, dp),
      b_enc: g.reduceSum(dp, [0]),
    },
    mse: perToken(g, g.reduceSumSquare(error, [0, 1]), batch),
    l1: g.mul(l1, perToken(g, g.reduceSum(f, [0, 1]), batch)),
    aux: g.scalar(0),
  };
}

/** ∂b_dec = Σ_b r_b − W_enc · Σ_b dp_b: once as the decoder's bias, once through the encoder's x − b_dec. */
function biasGradient(g: GraphBuilder, w: ParameterValues, r: Value, dp: Value): Value {
  const throughEncoder = g.matmul(w.W_enc!, g.reduceSum(dp, [0]));
  return g.sub(g.reduceSum(r, [0]), throughEncoder);
}

function perToken(g: GraphBuilder, sum: Value, batch: number): Value {
  return g.mul(sum, g.scalar(1 / batch));
}

/** Σ of every entry. */
function sumOfAll(g: GraphBuilder, value: Value, shape: readonly number[]): Value {
  return g.reduceSum(
    value,
    shape.map((_, axis) => axis),
  );
}

/** The sum of those terms that the loss has, 0 without any. */
function sumOf(g: GraphBuilder, ...terms: (Value | false)[]): Value {
  const present = terms.filter((term) => term !== false);
  return present.length === 0 ? g.scalar(0) : present.reduce((sum, term) => g.add(sum, term));
}

/** Removes from each row of the gradient its part along the (unit) row of W_dec. */
function tangent(g: GraphBuilder, gradient: Value, W_dec: Value): Value {
  const along = g.reduceSum(g.mul(gradient, W_dec), [1], true);
  return g.sub(gradient, g.mul(along, W_dec));
}

/** Rows divided by their norm. */
function unitRows(g: GraphBuilder, W_dec: Value): Value {
  return g.div(W_dec, g.op('Sqrt', [g.reduceSumSquare(W_dec, [1], true)]));
}

/** Adam (Kingma and Ba 2015, algorithm 1) for one parameter after another; writes the moments' outputs, and sums of them. */
function adamUpdate(g: GraphBuilder, settings: EngineSettings, state: ReadonlyMap<string, Value>, written: Value[]) {
  const { beta1, beta2 } = settings;
  const lr = g.input('lr', 'float32', []);
  const correction1 = g.input('correction1', 'float32', []);
  const correction2 = g.input('correction2', 'float32', []);
  const decayed = (moment: Value, beta: number, value: Value) =>
    g.add(g.mul(moment, g.scalar(beta)), g.mul(value, g.scalar(1 - beta)));

  return (name: ParameterName, gradient: Value): Value => {
    const shape = parameterShape(name, sizesOf(settings));
    let m = gradient;
    if (beta1 > 0) {
      m = decayed(state.get(`m/${name}`)!, beta1, gradient);
      g.output(`next/m/${name}`, m, 'float32', shape);
      m = g.mul(m, correction1);
    }
    const v = decayed(state.get(`v/${name}`)!, beta2, g.mul(gradient, gradient));
    g.output(`next/v/${name}`, v, 'float32', shape);
    written.push(sumOfAll(g, v, shape));
    const denominator = g.add(g.op('Sqrt', [g.mul(v, correction2)]), g.scalar(ADAM_EPSILON));
    return g.sub(state.get(name)!, g.mul(lr, g.div(m, denominator)));
  };
}

/** The gated encoder (paper, eq. 6 and 7, weights tied by W_mag = exp(r_mag) ∘ W_gate). */
function gatedEncoder(g: GraphBuilder, w: ParameterValues, p: Value) {
  const expRMag = g.op('Exp', [w.r_mag!]);
  return { expRMag, ...gate(g, w, p, g.mul(p, expRMag)) };
}

/** The gated encoder with a matrix of its own for magnitudes (paper, eq. 6 without 7); p = centred · W_enc. */
function untiedEncoder(g: GraphBuilder, w: ParameterValues, centred: Value, p: Value) {
  return gate(g, w, p, g.matmul(centred, w.W_mag!));
}

/** f = 1[π_gate > 0] ReLU(π_mag); `scaled` is π_mag without its bias. */
function gate(g: GraphBuilder, w: ParameterValues, p: Value, scaled: Value) {
  /** π_gate, which decides. */
  const piGate = g.add(p, w.b_gate!);
  /** 1 where the gate is open. */
  const open = g.positive(piGate);
  /** Magnitude before its ReLU. */
  const magnitude = g.add(scaled, w.b_mag!);
  const f = g.mul(open, g.relu(magnitude));
  return { piGate, open, magnitude, f };
}

/** The standard encoder: f = ReLU(p + b_enc). */
function standardEncoder(g: GraphBuilder, w: ParameterValues, p: Value): Value {
  return g.relu(g.add(p, w.b_enc!));
}

function preActivation(g: GraphBuilder, w: ParameterValues, x: Value) {
  const { input, p } = preActivationOf(g, w, x);
  return { centred: input, p };
}

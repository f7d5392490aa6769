import { gradients } from '../../../onnx/gradient.js';
import { GraphBuilder, type Value } from '../../../onnx/graph.js';
import { zerosLike } from '../../../onnx/shapes.js';
import {
  centredInput,
  type Loss,
  type LossInput,
  type ParameterValues,
  squaredDeviation,
} from '../../../sae/architecture.js';
import { skipped } from '../../../sae/forward-graph.js';
import { parametersOf, trainingOf } from '../../../sae/registry.js';
import { type ParameterName, parameterShape } from '../../../sae/sae.js';
import { ADAM_EPSILON, CLIP_EPSILON, type EngineSettings, sizesOf } from '../engine.js';
import { followedBy, isTrained, optionsOf, stateShapes } from '../state.js';

/** Entries of the metrics output, in order. */
export const METRICS = ['mse', 'l1', 'aux', 'l0', 'variance', 'dead', 'written'] as const;

type Metrics = Record<(typeof METRICS)[number], Value>;

/**
 * One training step as a dense graph: the architecture's loss, differentiated, and Adam. It is the oracle for the
 * faster engines, so it is written plainly and optimises nothing.
 *
 * Inputs: `x` [batch, d_in], `y` [batch, d_out] if the target is not the input, scalars `l1`, `lr`, `correction1` = 1 /
 * (1 − β1^t), `correction2` = 1 / (1 − β2^t), and the state by name; unused ones are omitted. Outputs: `next/<name>`
 * for each part of the state, and `metrics`.
 */
export function stepGraph(settings: EngineSettings): Uint8Array {
  const { architecture } = settings;
  const g = new GraphBuilder('training-step');
  const state = new Map<string, Value>();
  for (const [name, shape] of stateShapes(settings)) state.set(name, g.input(name, 'float32', shape));
  const w: ParameterValues = Object.fromEntries(parametersOf(settings).map((name) => [name, state.get(name)!]));
  const since = state.get('since_fired')!;
  const deadOf = (rows: Value) => g.cast(g.op('GreaterOrEqual', [rows, g.scalar(settings.deadWindow)]), 'float32');
  const batch = { ...lossInput(g, w, settings), dead: deadOf(since) };
  const loss = trainingOf(architecture).loss(g, w, batch, optionsOf(settings));

  const { nonNegative = [] } = trainingOf(architecture);
  const trained = parametersOf(settings).filter((name) => isTrained(settings, name));
  const total = [loss.penalty, loss.auxiliary].reduce<Value>((sum, term) => (term ? g.add(sum, term) : sum), loss.mse);
  const found = gradients(
    g,
    mean(g, total),
    trained.map((name) => w[name]!),
  );
  const written: Value[] = [];
  const adam = adamUpdate(g, settings, state, written);
  const follows = followedBy(settings);
  const gradientOf = (name: ParameterName) => {
    const gradient = found.get(w[name]!) ?? zerosLike(g, w[name]!);
    return name === 'W_dec' ? tangent(g, gradient, w[name]!) : gradient;
  };
  const clipped = clipping(
    g,
    settings,
    trained.map((name) => [name, gradientOf(name)]),
  );
  for (const name of parametersOf(settings)) {
    const shape = parameterShape(name, sizesOf(settings));
    let next = w[name]!;
    if (trained.includes(name)) {
      next = adam(name, clipped.get(name)!);
      // A row whose norm overflows is divided to zero, which would look fine afterwards.
      if (name === 'W_dec') written.push(g.reduceSumSquare(next, [0, 1]));
      if (name === 'W_dec') next = unitRows(g, next);
      if (nonNegative.includes(name)) next = g.relu(next);
      written.push(sumOfAll(g, next, shape));
    }
    if (follows?.parameter === name) {
      next = followed(g, next, loss.f, follows.share);
      written.push(sumOfAll(g, next, shape));
    }
    g.output(`next/${name}`, next, 'float32', shape);
  }

  const fired = g.positive(loss.f);
  const silent = g.mul(g.add(since, g.scalar(settings.batch)), g.sub(g.scalar(1), g.reduceMax(fired, [0])));
  g.output('next/since_fired', silent, 'float32', [settings.dSae]);
  outputMetrics(g, {
    ...terms(g, loss),
    l0: mean(g, g.reduceSum(fired, [1])),
    variance: mean(g, squaredDeviation(g, batch.target)),
    dead: g.reduceSum(deadOf(silent), [0]),
    written: written.reduce((sum, one) => g.add(sum, one)),
  });
  return g.encode();
}

/**
 * Element type in which a batch is fed: ONNX Runtime's binding has no bfloat16 tensors, and WebGPU supports float16 on
 * some cards only.
 */
export function fedType({ batchDType, device = 'cpu' }: EngineSettings): 'float16' | 'float32' {
  return batchDType === 'float16' && !device.startsWith('webgpu') ? 'float16' : 'float32';
}

/** The batch as input of the loss, except for the mask of dead features. */
function lossInput(g: GraphBuilder, w: ParameterValues, settings: EngineSettings): Omit<LossInput, 'dead'> {
  const { batch, factors, scale, scaleOut = 1 } = settings;
  const sizes = sizesOf(settings);
  const type = fedType(settings);
  const fed = (name: 'x' | 'y', width: number, scale: number) => {
    const own = name === 'x' ? factors?.input : factors?.target;
    const wide = g.cast(g.input(name, type, [batch, width]), 'float32');
    const changed = own ? g.mul(wide, g.table(`${name}_factors`, [width], Float32Array.from(own))) : wide;
    return g.mul(changed, g.scalar(scale));
  };
  const sparsity = g.input('l1', 'float32', []);
  const x = fed('x', sizes.dIn, scale);
  if (settings.dOut === undefined) return { x: centredInput(g, w, x), y: x, target: x, sparsity, sizes };
  // b_dec belongs to the target, which is different: the input is encoded directly.
  const target = fed('y', sizes.dOut, scaleOut);
  const y = settings.skip ? g.sub(target, skipped(g, w, x)) : target;
  return { x: { input: x, p: g.matmul(x, w.W_enc!) }, y, target, sparsity, sizes };
}

/** Σ over all entries of an array of the state. */
function sumOfAll(g: GraphBuilder, value: Value, { length }: readonly number[]): Value {
  return g.reduceSum(value, [...Array(length).keys()]);
}

/** A parameter moved towards the smallest f > 0, if there is one. */
function followed(g: GraphBuilder, value: Value, f: Value, share: number): Value {
  const none = g.scalar(Number.POSITIVE_INFINITY);
  const active = g.op('Where', [g.op('Greater', [f, g.scalar(0)]), f, none]);
  const smallest = g.op('ReduceMin', [active, g.ints(0, 1)], { keepdims: 0 });
  const moved = g.add(g.mul(value, g.scalar(1 - share)), g.mul(smallest, g.scalar(share)));
  return g.op('Where', [g.op('Less', [smallest, none]), moved, value]);
}

/** The mean over tokens of a value [tokens]. */
function mean(g: GraphBuilder, perToken: Value): Value {
  return g.op('ReduceMean', [perToken, g.ints(0)], { keepdims: 0 });
}

/** The loss terms, each a mean over tokens. */
function terms(g: GraphBuilder, { mse, penalty, auxiliary }: Loss): Pick<Metrics, 'mse' | 'l1' | 'aux'> {
  const meanOf = (term: Value | undefined) => (term ? mean(g, term) : g.scalar(0));
  return { mse: meanOf(mse), l1: meanOf(penalty), aux: meanOf(auxiliary) };
}

function outputMetrics(g: GraphBuilder, metrics: Metrics): void {
  const numbers = METRICS.map((name) => g.reshape(metrics[name], 1));
  g.output('metrics', g.concat(numbers, 0), 'float32', [METRICS.length]);
}

/** Gradients by parameter, clipped together to the norm in the settings, like PyTorch's clip_grad_norm_. */
function clipping(
  g: GraphBuilder,
  settings: EngineSettings,
  gradients: readonly (readonly [ParameterName, Value])[],
): ReadonlyMap<ParameterName, Value> {
  const { clipGradNorm: most } = settings;
  if (most === undefined) return new Map(gradients);
  const squares = gradients.map(([name, gradient]) =>
    g.reduceSumSquare(gradient, [...Array(parameterShape(name, sizesOf(settings)).length).keys()]),
  );
  const norm = g.op('Sqrt', [squares.reduce((sum, one) => g.add(sum, one))]);
  const factor = g.op('Min', [g.scalar(1), g.div(g.scalar(most), g.add(norm, g.scalar(CLIP_EPSILON)))]);
  return new Map(gradients.map(([name, gradient]) => [name, g.mul(gradient, factor)]));
}

/** Removes the component of each gradient row along the (unit) row of W_dec. */
function tangent(g: GraphBuilder, gradient: Value, W_dec: Value): Value {
  const along = g.reduceSum(g.mul(gradient, W_dec), [1], true);
  return g.sub(gradient, g.mul(along, W_dec));
}

/** Rows divided by their norm. */
function unitRows(g: GraphBuilder, W_dec: Value): Value {
  return g.div(W_dec, g.op('Sqrt', [g.reduceSumSquare(W_dec, [1], true)]));
}

/** Adam (Kingma and Ba 2015, algorithm 1) for one parameter at a time; writes the moments' outputs and their sums. */
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

import type { Batches, SourceDescription } from '../activations/activation-source.js';
import type { ActivationArray } from '../activations/rows.js';
import type { TrainConfig } from '../config/stages/train.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { GraphBuilder, type Value } from '../onnx/graph.js';
import { onnxRuntime, openSession } from '../onnx/session.js';
import type { StopRequest } from '../progress/progress.js';
import { heard, throwIfStopped } from '../progress/stop.js';
import { Generator, Purpose } from '../random/generator.js';
import { centredInput, type LossInput, type ParameterValues } from '../sae/architecture.js';
import { skipped } from '../sae/forward-graph.js';
import { parametersOf, trainingOf } from '../sae/registry.js';
import { parameterShape, type Sae, type Sizes } from '../sae/sae.js';
import { widen } from '../safetensors/floats.js';
import { type EngineSettings, sizesOf, type TrainerState } from './engines/engine.js';
import { isTrained, optionsOf } from './engines/state.js';

/** Length of a resampled encoder row relative to the mean of those alive (Bricken et al. 2023). */
const ENCODER_SHARE = 0.2;

/** @throws UsageRefusal where the architecture has no use for resampling, or --train freezes what it would change */
export function checkResampling({ arch, resampleAt }: TrainConfig, settings: EngineSettings): void {
  if (resampleAt.length === 0) return;
  const { resampling, trains } = trainingOf(settings.architecture);
  if (resampling) {
    throw new UsageRefusal(
      `--resample-at does not apply to --arch ${arch}: ${resampling.unsupported}.`,
      'Leave --resample-at out.',
      'train/foreign-flag',
    );
  }
  // What its options never train (--ablate no-r-mag) stays as it is.
  const frozen = trains(optionsOf(settings)).filter((name) => !isTrained(settings, name));
  if (frozen.length === 0) return;
  throw new UsageRefusal(
    `--resample-at would change ${frozen.join(', ')}, which --train leaves as they are.`,
    'Leave one of the two out.',
    'train/resample-frozen',
  );
}

/** Features that have not fired during the last dead-window activations, ascending. */
export function deadFeatures(state: TrainerState, deadWindow: number): number[] {
  return [...state.get('since_fired')!].flatMap((since, j) => (since >= deadWindow ? [j] : []));
}

interface InputsToDraw {
  readonly batches: Batches;
  readonly about: SourceDescription;
  /** Looked at, at most. */
  readonly most: number;
  /** Steps done: the occasion. */
  readonly step: number;
  readonly seed: number;
  /** λ at this step, in the engines' convention. */
  readonly l1: number;
  /** Looked at while inputs are. */
  readonly stop?: StopRequest;
}

/** An input, scaled, and its target where that is another. */
export interface Example {
  /** [d_in] */
  readonly x: Float32Array;
  /** [d_out] */
  readonly y?: Float32Array;
}

/**
 * Draws `count` inputs without replacement, each draw with probability proportional to the squared loss of what is
 * left (Bricken et al. 2023; drawn with replacement, two features could become equal and would stay so). The draw is
 * that of Efraimidis and Spirakis (2006): the largest keys log(u) / loss².
 *
 * @param sae of scaled activations, as it stands
 * @returns at most count, and the number of inputs sampled
 * @throws Interrupted where a stop was asked for
 */
export async function drawInputs(
  sae: Sae,
  count: number,
  { batches, about, most, step, seed, l1, stop = { signal: undefined } }: InputsToDraw,
  settings: EngineSettings,
): Promise<{ drawn: Example[]; inputs: number }> {
  const losses = await openInputLosses(sae, settings, l1);
  const random = new Generator(seed, Purpose.resampling, step);
  const keys: number[] = [];
  try {
    for await (const rows of scaledInputs(batches, about, most, step, settings)) {
      for (const loss of await losses.of(rows, stop)) {
        if (!Number.isFinite(loss))
          throw new Refusal(
            `Resampling after step ${step}: the loss of input ${keys.length} is ${loss}.`,
            'Train again with a smaller --lr, into another --out or with --overwrite.',
            'train/not-finite',
          );
        keys.push(Math.log(1 - random.uniform()) / (loss * loss));
      }
    }
  } finally {
    await losses.close();
  }
  const places = Array.from(keys, (_, i) => i)
    .filter((i) => keys[i]! > Number.NEGATIVE_INFINITY)
    .sort((a, b) => keys[b]! - keys[a]! || a - b)
    .slice(0, count);
  // The pieces are read a second time: to keep every input until the last is seen would take their whole memory.
  const wanted = new Map(places.map((place, k) => [place, k]));
  const drawn: Example[] = [];
  let first = 0;
  for await (const rows of scaledInputs(batches, about, most, step, settings)) {
    throwIfStopped(stop, STOPPED);
    const count = rows.x.length / about.dIn;
    for (let row = 0; row < count; row++) {
      const k = wanted.get(first + row);
      if (k !== undefined) drawn[k] = exampleAt(rows, row, settings);
    }
    first += count;
  }
  return { drawn, inputs: keys.length };
}

/** Row `row` of scaled rows, copied. */
function exampleAt({ x, y }: Example, row: number, { dIn, dOut = 0 }: EngineSettings): Example {
  const of = (values: Float32Array, d: number) => values.slice(row * d, (row + 1) * d);
  return { x: of(x, dIn), ...(y && { y: of(y, dOut) }) };
}

/** Pieces of rows: x [rows × d_in], and y [rows × d_out] where the target is not the input. */
async function* scaledInputs(
  batches: Batches,
  { dIn, dtype, target }: SourceDescription,
  most: number,
  occasion: number,
  { scale, scaleOut = 1 }: EngineSettings,
): AsyncGenerator<Example> {
  let left = most;
  for await (const piece of batches.inputs(occasion)) {
    const rows = Math.min(left, piece.activation.length / dIn);
    const scaled = (values: ActivationArray, d: number, factor: number) =>
      widen(values.subarray(0, rows * d), dtype).map((value) => value * factor);
    yield {
      x: scaled(piece.activation, dIn, scale),
      ...(target && { y: scaled(piece.target!, target.dOut, scaleOut) }),
    };
    left -= rows;
    if (left === 0) return;
  }
}

/**
 * The state after feature `features[k]` was given the direction of input `inputs[k]`, in place (Bricken et al. 2023;
 * paper, appendix D): its row of W_dec is the unit vector along x − b_dec, which is what the encoder sees of the input;
 * its encoder column the same at a fifth of the mean length of those alive; its biases and r_mag are zero, as are its
 * moments, and it counts as having just fired. With a target y, what the encoder sees is x, and the row of W_dec is the
 * unit vector along y − b_dec, less what a skip connection gives of it.
 *
 * @param inputs scaled
 */
export function resampleFeatures(
  state: TrainerState,
  features: readonly number[],
  inputs: readonly Example[],
  { dIn, dOut = dIn, dSae }: Pick<EngineSettings, 'dIn' | 'dOut' | 'dSae'>,
): void {
  const sizes = { dIn, dOut, dSae };
  const length = ENCODER_SHARE * meanEncoderNorm(state.get('W_enc')!, new Set(features), dIn, dSae);
  for (const [k, j] of features.entries()) {
    const directions = directionsOf(inputs[k]!, state);
    if (!directions) continue;
    for (const [name, values] of state) {
      const parameter = name.replace(/^[mv]\//, '');
      if (parameter === 'b_dec' || parameter === 'W_skip') continue;
      const moment = parameter !== name;
      const [first, stride, count] = entriesOf(parameter, j, sizes);
      for (let i = 0; i < count; i++) {
        const { encoder, decoder } = directions;
        const unit = count === 1 || moment ? 0 : parameter === 'W_dec' ? decoder[i]! : length * encoder[i]!;
        values[first + i * stride] = unit;
      }
    }
  }
}

/** Unit vectors along what is encoded of an input, and along what is to be reconstructed; undefined where one is zero. */
function directionsOf(
  { x, y }: Example,
  state: TrainerState,
): { readonly encoder: Float64Array; readonly decoder: Float64Array } | undefined {
  const bDec = state.get('b_dec')!;
  const skip = state.get('W_skip');
  const wanted = Float64Array.from(y ?? x, (value, o) => {
    let rest = value - bDec[o]!;
    for (let i = 0; skip && i < x.length; i++) rest -= skip[o * x.length + i]! * x[i]!;
    return rest;
  });
  const decoder = unitAlong(wanted);
  const encoder = y ? unitAlong(Float64Array.from(x)) : decoder;
  return encoder && decoder && { encoder, decoder };
}

/** undefined of a vector of zeros. */
function unitAlong(v: Float64Array): Float64Array | undefined {
  const norm = Math.hypot(...v);
  return norm === 0 ? undefined : v.map((value) => value / norm);
}

/** Where the entries of feature j lie in an array of the state. */
function entriesOf(
  parameter: string,
  j: number,
  { dIn, dOut, dSae }: Sizes,
): [first: number, stride: number, count: number] {
  if (parameter === 'W_dec') return [j * dOut, 1, dOut];
  return parameter.startsWith('W_') ? [j, dSae, dIn] : [j, 0, 1];
}

/** Mean length of the encoder's columns, those of `without` left out unless they are all. */
function meanEncoderNorm(W_enc: Float32Array, without: ReadonlySet<number>, dIn: number, dSae: number): number {
  const squares = new Float64Array(dSae);
  for (let i = 0; i < dIn; i++) for (let j = 0; j < dSae; j++) squares[j]! += W_enc[i * dSae + j]! ** 2;
  const alive = squares.filter((_, j) => !without.has(j) || without.size === dSae);
  // Of zero columns alone, none could ever be active: the length at initialisation then.
  return alive.reduce((sum, square) => sum + Math.sqrt(square), 0) / alive.length || 1;
}

/** Most feature activations that exist at a time: 128 MiB of float32. */
export const MOST_LOSS_ENTRIES = 2 ** 25;

/** What a stop meanwhile says; who asked for the losses knows what is kept. */
const STOPPED = 'inputs were sampled.';

/** The training loss of inputs one by one. */
interface InputLosses {
  /**
   * @param rows x [rows × d_in] scaled activations, and y [rows × d_out] where the target is another
   * @returns [rows]
   * @throws Interrupted where a stop was asked for
   */
  of(rows: Example, stop?: StopRequest): Promise<Float64Array>;
  close(): Promise<void>;
}

/**
 * The loss of single inputs under an SAE as it stands, as one plain graph that is the same for every engine:
 * resampling is rare, and its draws must not depend on how steps are computed.
 *
 * @param sae of scaled activations
 * @param l1 λ in the engines' convention
 */
export async function openInputLosses(sae: Sae, settings: EngineSettings, l1: number): Promise<InputLosses> {
  const { Tensor } = await onnxRuntime();
  const { dIn, dOut, dSae, parameters } = sae;
  const g = new GraphBuilder('input-losses');
  const w: ParameterValues = {};
  const weights: Record<string, InstanceType<typeof Tensor>> = {};
  for (const name of parametersOf(settings)) {
    const shape = parameterShape(name, sae);
    w[name] = g.input(name, 'float32', shape);
    weights[name] = new Tensor('float32', parameters[name]!, shape);
  }
  g.output('loss', lossOfEach(g, settings, w, l1), 'float32', ['rows']);
  const open = await openSession(g.encode(), settings);
  const chunk = Math.max(1, Math.floor(MOST_LOSS_ENTRIES / dSae));

  return {
    async of({ x, y }, stop = { signal: undefined }) {
      const rows = x.length / dIn;
      const losses = new Float64Array(rows);
      for (let first = 0; first < rows; first += chunk) {
        if (await heard(stop)) throwIfStopped(stop, STOPPED);
        const last = Math.min(rows, first + chunk);
        const part = (values: Float32Array, d: number) =>
          new Tensor('float32', values.slice(first * d, last * d), [last - first, d]);
        const { loss } = await open.run({ x: part(x, dIn), ...(y && { y: part(y, dOut) }), ...weights });
        losses.set(loss!.data as Float32Array, first);
      }
      return losses;
    },
    close: () => open.release(),
  };
}

/** The terms of the loss that trains, summed per input: [rows]. */
function lossOfEach(g: GraphBuilder, settings: EngineSettings, w: ParameterValues, l1: number): Value {
  const loss = trainingOf(settings.architecture).loss(
    g,
    w,
    {
      ...{ ...examples(g, settings, w), sparsity: g.scalar(l1), sizes: sizesOf(settings) },
      dead: g.table('dead', [settings.dSae], new Float32Array(settings.dSae)),
    },
    optionsOf(settings),
  );
  return [loss.penalty, loss.auxiliary].reduce<Value>((sum, term) => (term ? g.add(sum, term) : sum), loss.mse);
}

/** Scaled rows as the loss takes them. */
function examples(
  g: GraphBuilder,
  { dIn, dOut, skip }: EngineSettings,
  w: ParameterValues,
): Pick<LossInput, 'x' | 'y' | 'target'> {
  const x = g.input('x', 'float32', ['rows', dIn]);
  if (dOut === undefined) return { x: centredInput(g, w, x), y: x, target: x };
  const target = g.input('y', 'float32', ['rows', dOut]);
  const y = skip ? g.sub(target, skipped(g, w, x)) : target;
  return { x: { input: x, p: g.matmul(x, w.W_enc!) }, y, target };
}

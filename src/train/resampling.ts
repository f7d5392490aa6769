import type { Batches, SourceDescription } from '../activations/activation-source.js';
import type { TrainConfig } from '../config/stages.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { GraphBuilder, type Value } from '../onnx/graph.js';
import { onnxRuntime, openSession } from '../onnx/session.js';
import type { StopRequest } from '../progress/progress.js';
import { heard, throwIfStopped } from '../progress/stop.js';
import { Generator, Purpose } from '../random/generator.js';
import { centredInput, type ParameterValues } from '../sae/architecture.js';
import { PARAMETERS, trainingOf } from '../sae/registry.js';
import { parameterShape, type Sae } from '../sae/sae.js';
import { widen } from '../safetensors/floats.js';
import { type EngineSettings, sizesOf, type TrainerState } from './engines/engine.js';
import { isTrained, optionsOf } from './engines/state.js';

/** Length of a resampled encoder row beside the mean of those alive (Bricken et al. 2023). */
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

/**
 * Draws `count` inputs without replacement, each draw with probability proportional to the squared loss of what is
 * left (Bricken et al. 2023; drawn with replacement, two features could become equal and would stay so). The draw is
 * that of Efraimidis and Spirakis (2006): the largest keys log(u) / loss².
 *
 * @param sae of scaled activations, as it stands
 * @returns [at most count][d_in] scaled activations, and the number of inputs looked at
 * @throws Interrupted where a stop was asked for
 */
export async function drawInputs(
  sae: Sae,
  count: number,
  { batches, about, most, step, seed, l1, stop = { signal: undefined } }: InputsToDraw,
  settings: EngineSettings,
): Promise<{ drawn: Float32Array[]; inputs: number }> {
  const losses = await openInputLosses(sae, settings, l1);
  const random = new Generator(seed, Purpose.resampling, step);
  const keys: number[] = [];
  try {
    for await (const x of scaledInputs(batches, about, most, step, settings.scale)) {
      for (const loss of await losses.of(x, stop)) {
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
  const drawn: Float32Array[] = [];
  let first = 0;
  for await (const x of scaledInputs(batches, about, most, step, settings.scale)) {
    throwIfStopped(stop, STOPPED);
    for (let row = 0; row < x.length / about.dIn; row++) {
      const k = wanted.get(first + row);
      if (k !== undefined) drawn[k] = x.slice(row * about.dIn, (row + 1) * about.dIn);
    }
    first += x.length / about.dIn;
  }
  return { drawn, inputs: keys.length };
}

async function* scaledInputs(
  batches: Batches,
  { dIn, dtype }: SourceDescription,
  most: number,
  occasion: number,
  scale: number,
): AsyncGenerator<Float32Array> {
  let left = most;
  for await (const { activation } of batches.inputs(occasion)) {
    const rows = Math.min(left, activation.length / dIn);
    yield widen(activation.subarray(0, rows * dIn), dtype).map((value) => value * scale);
    left -= rows;
    if (left === 0) return;
  }
}

/**
 * The state after feature `features[k]` was given the direction of input `inputs[k]`, in place (Bricken et al. 2023;
 * paper, appendix D): its row of W_dec is the unit vector along x − b_dec, which is what the encoder sees of the input;
 * its encoder column the same at a fifth of the mean length of those alive; its biases and r_mag are zero, as are its
 * moments, and it counts as having just fired.
 *
 * @param inputs [d_in] each, scaled
 */
export function resampleFeatures(
  state: TrainerState,
  features: readonly number[],
  inputs: readonly Float32Array[],
  { dIn, dSae }: Pick<EngineSettings, 'dIn' | 'dSae'>,
): void {
  const bDec = state.get('b_dec')!;
  const length = ENCODER_SHARE * meanEncoderNorm(state.get('W_enc')!, new Set(features), dIn, dSae);
  for (const [k, j] of features.entries()) {
    const direction = Float64Array.from(inputs[k]!, (x, i) => x - bDec[i]!);
    const norm = Math.hypot(...direction);
    if (norm === 0) continue;
    for (const [name, values] of state) {
      const parameter = name.replace(/^[mv]\//, '');
      if (parameter === 'b_dec') continue;
      const moment = parameter !== name;
      const [first, stride, count] = entriesOf(parameter, j, dIn, dSae);
      for (let i = 0; i < count; i++) {
        const unit = count === 1 || moment ? 0 : direction[i]! / norm;
        values[first + i * stride] = parameter === 'W_dec' ? unit : length * unit;
      }
    }
  }
}

/** Where the entries of feature j lie in an array of the state. */
function entriesOf(
  parameter: string,
  j: number,
  dIn: number,
  dSae: number,
): [first: number, stride: number, count: number] {
  if (parameter === 'W_dec') return [j * dIn, 1, dIn];
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
const STOPPED = 'inputs were looked at.';

/** The training loss of inputs one by one. */
interface InputLosses {
  /**
   * @param x [rows × d_in] scaled activations
   * @returns [rows]
   * @throws Interrupted where a stop was asked for
   */
  of(x: Float32Array, stop?: StopRequest): Promise<Float64Array>;
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
  const { architecture, dIn, dSae, parameters } = sae;
  const g = new GraphBuilder('input-losses');
  const x = g.input('x', 'float32', ['rows', dIn]);
  const w: ParameterValues = {};
  const weights: Record<string, InstanceType<typeof Tensor>> = {};
  for (const name of PARAMETERS[architecture]) {
    const shape = parameterShape(name, sae);
    w[name] = g.input(name, 'float32', shape);
    weights[name] = new Tensor('float32', parameters[name]!, shape);
  }
  g.output('loss', lossOfEach(g, settings, w, x, l1), 'float32', ['rows']);
  const open = await openSession(g.encode(), settings);
  const chunk = Math.max(1, Math.floor(MOST_LOSS_ENTRIES / dSae));

  return {
    async of(values, stop = { signal: undefined }) {
      const rows = values.length / dIn;
      const losses = new Float64Array(rows);
      for (let first = 0; first < rows; first += chunk) {
        if (await heard(stop)) throwIfStopped(stop, STOPPED);
        const last = Math.min(rows, first + chunk);
        const part = new Tensor('float32', values.slice(first * dIn, last * dIn), [last - first, dIn]);
        const { loss } = await open.run({ x: part, ...weights });
        losses.set(loss!.data as Float32Array, first);
      }
      return losses;
    },
    close: () => open.release(),
  };
}

/** The terms of the loss that trains, summed per input: [rows]. */
function lossOfEach(g: GraphBuilder, settings: EngineSettings, w: ParameterValues, x: Value, l1: number): Value {
  const loss = trainingOf(settings.architecture).loss(
    g,
    w,
    {
      ...{ x: centredInput(g, w, x), y: x, target: x, sparsity: g.scalar(l1), sizes: sizesOf(settings) },
      dead: g.table('dead', [settings.dSae], new Float32Array(settings.dSae)),
    },
    optionsOf(settings),
  );
  return [loss.penalty, loss.auxiliary].reduce<Value>((sum, term) => (term ? g.add(sum, term) : sum), loss.mse);
}

import type { Batches, SourceDescription } from '../activations/activation-source.js';
import type { ActivationArray } from '../activations/rows.js';
import type { TrainConfig } from '../config/stages/train.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { throwIfStopped } from '../progress/stop.js';
import { Generator, Purpose } from '../random/generator.js';
import { trainingOf } from '../sae/registry.js';
import type { Sizes } from '../sae/sae.js';
import { widen } from '../safetensors/floats.js';
import type { EngineSettings, Example, TrainerState } from './engines/engine.js';
import { isTrained, optionsOf } from './engines/state.js';
import { INPUTS_STOPPED, type InputLosses } from './input-losses.js';

/** Length of a resampled encoder row relative to the mean of those alive (Bricken et al. 2023). */
const ENCODER_SHARE = 0.2;

/** @throws UsageRefusal if the architecture has no use for resampling, or --train freezes what it would change */
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
  /** Max looked at. */
  readonly most: number;
  /** Steps done: the occasion. */
  readonly step: number;
  readonly seed: number;
  /** Looked at while inputs are. */
  readonly stop?: StopRequest;
}

/**
 * Draws `count` inputs without replacement, each draw with probability proportional to the squared loss of what is
 * left (Bricken et al. 2023; drawn with replacement, two features could become equal and would stay so). The draw is
 * that of Efraimidis and Spirakis (2006): the largest keys log(u) / loss².
 *
 * @param losses under the SAE as it stands; closed here
 * @returns at most count, and the number of inputs sampled
 * @throws Interrupted if a stop was requested
 */
export async function drawInputs(
  losses: InputLosses,
  count: number,
  { batches, about, most, step, seed, stop = { signal: undefined } }: InputsToDraw,
  settings: EngineSettings,
): Promise<{ drawn: Example[]; inputs: number }> {
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
    throwIfStopped(stop, INPUTS_STOPPED);
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

/** Unit vectors along what is encoded of an input, and along what is to be reconstructed; undefined if one is zero. */
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

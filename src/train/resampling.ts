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

/** Length of a resampled encoder row relative to the mean of live ones (Bricken et al. 2023). */
const ENCODER_SHARE = 0.2;

/** @throws UsageRefusal if the architecture does not support resampling, or --train freezes what it would change */
export function checkResampling({ arch, resampleAt }: TrainConfig, settings: EngineSettings): void {
  if (resampleAt.length === 0) return;
  const { resampling, trains } = trainingOf(settings.architecture);
  if (resampling) {
    throw new UsageRefusal(
      `--resample-at does not apply to --arch ${arch}: ${resampling.unsupported}.`,
      'Omit --resample-at.',
      'train/foreign-flag',
    );
  }
  // Parameters never trained with its options (--ablate no-r-mag) stay unchanged.
  const frozen = trains(optionsOf(settings)).filter((name) => !isTrained(settings, name));
  if (frozen.length === 0) return;
  throw new UsageRefusal(
    `--resample-at would change ${frozen.join(', ')}, which --train freezes.`,
    'Omit one of the two.',
    'train/resample-frozen',
  );
}

/** Features that have not fired on the last dead-window activations, ascending. */
export function deadFeatures(state: TrainerState, deadWindow: number): number[] {
  return [...state.get('since_fired')!].flatMap((since, j) => (since >= deadWindow ? [j] : []));
}

interface InputsToDraw {
  readonly batches: Batches;
  readonly about: SourceDescription;
  /** Max inputs to sample from. */
  readonly most: number;
  /** Steps done. */
  readonly step: number;
  readonly seed: number;
  /** Progress callback while sampling. */
  readonly stop?: StopRequest;
}

/**
 * Draws `count` inputs without replacement, each with probability proportional to the squared loss of the remaining
 * ones (Bricken et al. 2023; with replacement, two features could become equal and would stay so), using the method of
 * Efraimidis and Spirakis (2006): the largest keys log(u) / loss².
 *
 * @param losses under the current SAE; closed here
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
  // The pieces are read again: keeping every input until the last is seen would take too much memory.
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

/** Pieces of rows: x [rows × d_in], and y [rows × d_out] if the target is not the input. */
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
 * Gives feature `features[k]` the direction of input `inputs[k]`, in place (Bricken et al. 2023; paper, appendix D):
 * its row of W_dec becomes the unit vector along x − b_dec, the encoder's input; its encoder column the same at a fifth
 * of the mean length of live ones; its biases, r_mag and moments become zero, and it counts as having just fired. With
 * a target y, the encoder's input is x, and the row of W_dec becomes the unit vector along y − b_dec, minus the
 * contribution of a skip connection.
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

/** Unit vectors along the encoder's input, and along what is to be reconstructed; undefined if one is zero. */
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

/** Undefined for a zero vector. */
function unitAlong(v: Float64Array): Float64Array | undefined {
  const norm = Math.hypot(...v);
  return norm === 0 ? undefined : v.map((value) => value / norm);
}

/** Positions of feature j's entries in a state array. */
function entriesOf(
  parameter: string,
  j: number,
  { dIn, dOut, dSae }: Sizes,
): [first: number, stride: number, count: number] {
  if (parameter === 'W_dec') return [j * dOut, 1, dOut];
  return parameter.startsWith('W_') ? [j, dSae, dIn] : [j, 0, 1];
}

/** Mean length of the encoder's columns, excluding `without` unless that is all of them. */
function meanEncoderNorm(W_enc: Float32Array, without: ReadonlySet<number>, dIn: number, dSae: number): number {
  const squares = new Float64Array(dSae);
  for (let i = 0; i < dIn; i++) for (let j = 0; j < dSae; j++) squares[j]! += W_enc[i * dSae + j]! ** 2;
  const alive = squares.filter((_, j) => !without.has(j) || without.size === dSae);
  // If all columns were zero, no feature could ever fire: use the length at initialisation then.
  return alive.reduce((sum, square) => sum + Math.sqrt(square), 0) / alive.length || 1;
}

import assert from 'node:assert/strict';
import type { Batch } from '../../../src/activations/activation-source.js';
import { Generator } from '../../../src/random/generator.js';
import { initialise, PARAMETERS } from '../../../src/sae/registry.js';
import type { ArchitectureName } from '../../../src/sae/sae.js';
import { type Engine, type EngineSettings, sizesOf, type TrainerState } from '../../../src/train/engines/engine.js';
import { relativeDifference } from '../../golden.js';

/** Figures of a step that engines agree on. */
export const COMPARED = ['mse', 'l1', 'aux', 'l0', 'variance', 'dead'] as const;

/** Engine settings of a small problem with odd sizes. */
export function smallSettings(architecture: ArchitectureName, more: Partial<EngineSettings> = {}): EngineSettings {
  return {
    architecture,
    dIn: 22,
    dSae: 210,
    batch: 70,
    batchDType: 'float32',
    scale: 0.9,
    beta1: 0,
    beta2: 0.999,
    deadWindow: 700,
    threads: 2,
    ...more,
  };
}

/** Random parameters; biases around `bias` in units of a typical pre-activation decide how many features are active. */
export function randomStart(settings: EngineSettings, bias: number, seed = 7) {
  const { architecture } = settings;
  const random = new Generator(seed);
  const { parameters } = initialise(architecture, sizesOf(settings), seed);
  const start = new Map<string, Float32Array>(Object.entries(parameters));
  for (const name of PARAMETERS[architecture]) {
    if (name === 'W_enc' || name === 'W_dec') continue;
    const centre = name.startsWith('b_') && name !== 'b_dec' ? bias : 0;
    for (let i = 0; i < start.get(name)!.length; i++) start.get(name)![i] = centre + 0.1 * random.normal();
  }
  return start;
}

/** Rows that `resample` gives new values. */
export const RESAMPLED = [1, 30, 130];

/** Changes features of a small problem in place as resampling of dead ones does. */
export function resample(state: TrainerState, { dIn, dSae }: EngineSettings): TrainerState {
  for (const j of RESAMPLED) {
    for (const [name, values] of state) {
      const fresh = (i: number) => (/^[mv]/.test(name) ? 0 : Math.sin(i + j) / Math.sqrt(dIn));
      if (name.endsWith('W_enc')) for (let i = 0; i < dIn; i++) values[i * dSae + j] = 0.2 * fresh(i);
      else if (name.endsWith('W_dec')) for (let i = 0; i < dIn; i++) values[j * dIn + i] = fresh(i);
      else if (!name.endsWith('b_dec')) values[j] = 0;
    }
  }
  return state;
}

/** An endless row of batches, the same for the same seed. */
export function batches({ batch, dIn }: EngineSettings, seed = 3): () => Float32Array {
  const random = new Generator(seed);
  return () => Float32Array.from({ length: batch * dIn }, () => random.normal());
}

/** The largest relative difference between the states of two engines, and the array it is found in. */
export async function stateDifference(a: Engine, b: Engine): Promise<{ name: string; difference: number }> {
  const [one, other] = [await a.state(), await b.state()];
  if ([...one.keys()].join() !== [...other.keys()].join()) throw new Error('the states have other arrays');
  let worst = { name: '', difference: 0 };
  for (const [name, values] of one) {
    const difference = relativeDifference(values, other.get(name)!);
    if (!(difference <= worst.difference)) worst = { name, difference };
  }
  return worst;
}

/** Steps of two engines of the same state, whose figures agree. */
export async function stepBoth(
  expecting: Engine,
  tested: Engine,
  steps: number,
  next: () => Batch | Batch['x'],
): Promise<void> {
  const step = { lr: 3e-4, l1: 0.3 };
  for (let t = 0; t < steps; t++) {
    const given = next();
    const batch = ArrayBuffer.isView(given) ? { x: given } : given;
    const [expected, found] = [await expecting.step(batch, step), await tested.step(batch, step)];
    for (const name of COMPARED) {
      const off = Math.abs(found[name] - expected[name]);
      assert.ok(off <= 1e-4 * Math.abs(expected[name]), `step ${t}, ${name}: ${found[name]}, not ${expected[name]}`);
    }
  }
}

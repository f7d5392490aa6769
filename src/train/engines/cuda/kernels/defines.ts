import { ADAM_EPSILON, type EngineSettings } from '../../engine.js';
import { isTrained, objectiveOf, trainsGate } from '../../objective.js';
import { CHUNK, type CudaPlan } from '../plan.js';

/** What is compiled into the kernels: shapes, Adam's constants, the terms of the loss and what of it is trained. */
export function defines(settings: EngineSettings, plan: CudaPlan): string {
  const { architecture, dIn, dSae, batch, batchDType, beta1, beta2, scale, deadWindow } = settings;
  const { auxiliary, unfrozen, l1OnF } = objectiveOf(settings);
  const trains = (name: Parameters<typeof isTrained>[1]) => Number(isTrained(settings, name));
  const values = {
    D_IN: dIn,
    D_ROW: plan.d,
    N_FEATURES: dSae,
    BATCH: batch,
    WORDS: plan.words,
    SLICE: plan.slice,
    SLICES: plan.slices,
    CHUNK,
    ROW_THREADS: plan.threads,
    // Elements of a row that a thread of its block holds.
    PER_THREAD: Math.ceil(plan.d / plan.threads),
    HALF_BATCH: Number(batchDType === 'float16'),
    BFLOAT16: Number(plan.precision === 'bfloat16'),
    GATED: Number(architecture === 'gated'),
    AUXILIARY: Number(auxiliary),
    UNFROZEN: Number(unfrozen),
    L1_ON_F: Number(l1OnF),
    // Are dots with r_aux wanted?
    AUXILIARY_DOTS: Number(auxiliary && trainsGate(settings)),
    TRAINS_W_ENC: trains('W_enc'),
    TRAINS_W_DEC: trains('W_dec'),
    TRAINS_B_DEC: trains('b_dec'),
    TRAINS_BIAS: trains(architecture === 'gated' ? 'b_gate' : 'b_enc'),
    TRAINS_B_MAG: trains('b_mag'),
    TRAINS_R_MAG: trains('r_mag'),
    MOMENTUM: Number(beta1 > 0),
    SCALE: float(scale),
    DEAD_WINDOW: float(deadWindow),
    TWO_OVER_BATCH: float(2 / batch),
    BETA1: float(beta1),
    FRESH1: float(1 - beta1),
    BETA2: float(beta2),
    FRESH2: float(1 - beta2),
    EPSILON: float(ADAM_EPSILON),
  };
  return Object.entries(values)
    .map(([name, value]) => `#define ${name} ${value}`)
    .join('\n');
}

/** A literal of CUDA C that is read as the nearest float32, and only once rounded. */
function float(value: number): string {
  return `${Math.fround(value).toExponential()}f`;
}

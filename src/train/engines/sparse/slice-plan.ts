import { PARAMETERS } from '../../../sae/registry.js';
import type { EngineSettings } from '../engine.js';
import { isTrained, objectiveOf } from '../objective.js';
import { Plan } from './arena.js';
import { BLOCK_FIELDS } from './step-block.js';

/** Features whose pre-activations are computed at once. */
export const STRIP = 256;
/** A strip with more candidates than this fraction of its entries takes the float32 product. */
export const MOST_CANDIDATES = 1 / 4;
/** A strip with more active entries than this fraction is passed through densely. */
export const MOST_ENTRIES = 1 / 4;

/** Rows are padded to whole cache lines of float32. */
export function padded(length: number): number {
  return Math.ceil(length / 16) * 16;
}

/** Parameters that are rows of d_in for each feature, and those that are numbers for each. */
export const ROW_PARAMETERS = ['W_enc', 'W_dec'] as const;

/** Most entries that a slice can hold. */
export function entryCapacity(features: number, batch: number): number {
  return Math.floor(features / STRIP) * entryLimit(STRIP, batch) + entryLimit(features % STRIP, batch);
}

/** Most entries that a strip may add before it becomes dense; small strips are always held sparse. */
export function entryLimit(rows: number, batch: number): number {
  return Math.ceil(rows * batch * MOST_ENTRIES);
}

/** Arrays [B, d] of partial reconstructions that workers exchange. */
export function exchangedSums(settings: EngineSettings): readonly ('r' | 'r_aux')[] {
  return objectiveOf(settings).auxiliary ? ['r', 'r_aux'] : ['r'];
}

/** The arrays of a worker that owns `features` features, W_enc feature-major like W_dec. */
export function planSlice(settings: EngineSettings, features: number): Plan {
  const { architecture, dIn, batch, batchDType, beta1 } = settings;
  const { auxiliary, unfrozen } = objectiveOf(settings);
  const d = padded(dIn);
  const Bp = padded(batch);
  const strip = Math.min(STRIP, padded(features));
  const plan = new Plan();

  for (const name of PARAMETERS[architecture]) {
    const length =
      name === 'b_dec' ? d : (ROW_PARAMETERS as readonly string[]).includes(name) ? features * d : features;
    plan.add(name, 'f32', length);
    if (!isTrained(settings, name)) continue;
    if (beta1 > 0) plan.add(`m/${name}`, 'f32', length);
    plan.add(`v/${name}`, 'f32', length);
  }
  plan.add('since_fired', 'f32', features);
  plan.add('updated', 'u32', features);
  plan.add('fired', 'u32', features);
  plan.add('exp_r_mag', 'f32', features);

  // The batch, and per token what bounds its int8 products.
  plan.add('batch', batchDType === 'float16' ? 'u16' : 'f32', batch * dIn);
  for (const name of ['xc', 'r']) plan.add(name, 'f32', Bp * d);
  if (auxiliary) plan.add('r_aux', 'f32', Bp * d);
  plan.add('received', 'f32', Bp * d);
  plan.add('x_q', 'i8', Bp * d);
  for (const name of ['x_inverse', 'x_error', 'x_length']) plan.add(name, 'f32', Bp);

  // One tile: the pre-activations of two strips.
  plan.add('tile', 'f32', 2 * strip * Bp);
  plan.add('w_q', 'u8', strip * d);
  for (const name of ['w_inverse', 'w_error', 'w_length']) plan.add(name, 'f32', strip);
  plan.add('candidate_start', 'u32', strip + 1);
  plan.add('candidates', 'u32', candidateCapacity(strip, batch) + 16);

  const entries = entryCapacity(features, batch) + 16;
  plan.add('entry_start', 'u32', features + 1);
  plan.add('token', 'u32', entries);
  plan.add('p', 'f32', entries);
  plan.add('token_start', 'u32', batch + 1);
  plan.add('feature', 'u32', entries);
  plan.add('f', 'f32', entries);
  if (architecture === 'gated') plan.add('g', 'f32', entries);

  plan.add('g_enc', 'f32', d);
  plan.add('g_dec', 'f32', d);
  plan.add('pull', 'f32', d);
  plan.add('column', 'f32', d);
  plan.add('totals', 'f64', 2);
  plan.add('block', 'u32', BLOCK_FIELDS.length);
  // Dense passes: gradients of half a strip.
  plan.add('strip_enc', 'f32', (strip / 2) * d);
  plan.add('strip_dec', 'f32', (strip / 2) * d);
  if (unfrozen) plan.add('strip_aux', 'f32', (strip / 2) * d);
  plan.add('strip_sums', 'f32', 4 * strip);
  return plan;
}

/** Most candidates of a strip. */
export function candidateCapacity(rows: number, batch: number): number {
  return Math.ceil(rows * batch * MOST_CANDIDATES);
}

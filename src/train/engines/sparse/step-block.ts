import type { Arena } from './arena.js';

const NUMBER = 'f32';
const INTEGER = 'u32';

/** Fields of the kernels' StepBlock, in its order, each with its type or the name of the array it points to. */
export const BLOCK_FIELDS = [
  ['d', INTEGER],
  ['step', INTEGER],
  ['lr', NUMBER],
  ['l1', NUMBER],
  ['l1F', NUMBER],
  ['unfrozen', INTEGER],
  ['pulls', INTEGER],
  ['beta1', NUMBER],
  ['beta2', NUMBER],
  ['fresh1', NUMBER],
  ['fresh2', NUMBER],
  ['correction1', NUMBER],
  ['correction2', NUMBER],
  ['epsilon', NUMBER],
  ['xc', 'xc'],
  ['r', 'r'],
  ['rAux', 'r_aux'],
  ['wEnc', 'W_enc'],
  ['mEnc', 'm/W_enc'],
  ['vEnc', 'v/W_enc'],
  ['wDec', 'W_dec'],
  ['mDec', 'm/W_dec'],
  ['vDec', 'v/W_dec'],
  ['bias', 'b_gate'],
  ['mBias', 'm/b_gate'],
  ['vBias', 'v/b_gate'],
  ['bMag', 'b_mag'],
  ['mBMag', 'm/b_mag'],
  ['vBMag', 'v/b_mag'],
  ['rMag', 'r_mag'],
  ['mRMag', 'm/r_mag'],
  ['vRMag', 'v/r_mag'],
  ['expRMag', 'exp_r_mag'],
  ['entryStart', 'entry_start'],
  ['token', 'token'],
  ['p', 'p'],
  ['updated', 'updated'],
  ['gEnc', 'g_enc'],
  ['gDec', 'g_dec'],
  ['pull', 'pull'],
] as const;

/** Numbers of one step. */
export interface StepNumbers {
  /** Padded row length. */
  readonly d: number;
  /** Adam's t. */
  readonly step: number;
  readonly lr: number;
  /** λ / B, on g or on f; the other is 0. A standard SAE's is `l1`. */
  readonly l1: number;
  readonly l1F: number;
  /** 1 where the auxiliary loss trains W_dec. */
  readonly unfrozen: number;
  /** 1 where b_dec is trained. */
  readonly pulls: number;
  readonly beta1: number;
  readonly beta2: number;
  /** 1 − β1, 1 − β2. */
  readonly fresh1: number;
  readonly fresh2: number;
  readonly correction1: number;
  readonly correction2: number;
  readonly epsilon: number;
}

/** Writes the block of one step; a standard SAE's bias is b_enc. */
export function writeBlock(arena: Arena, numbers: StepNumbers, gated: boolean): void {
  const integers = arena.u32('block');
  const floats = arena.f32('block');
  BLOCK_FIELDS.forEach(([field, kind], i) => {
    if (kind === NUMBER) floats[i] = numbers[field];
    else if (kind === INTEGER) integers[i] = numbers[field];
    else integers[i] = arena.pointer(gated ? kind : kind.replace('b_gate', 'b_enc'));
  });
}

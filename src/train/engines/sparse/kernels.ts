import type { ActivationDType } from '../../../activations/manifest.js';
import { compileModule } from '../../../machine/webassembly.js';

/** Byte address within a worker's memory. */
export type Pointer = number;

/**
 * Fields of the kernels' blocks, four bytes each, in the order of the classes in kernels/memory.ts, which document
 * them: integers and addresses are `u32`.
 */
export const BLOCKS = {
  Step: {
    ...{ rule: 'u32', features: 'u32', B: 'u32', Bp: 'u32', dIn: 'u32', dOut: 'u32', step: 'u32' },
    ...{ lr: 'f32', beta1: 'f32', beta2: 'f32', fresh1: 'f32', fresh2: 'f32' },
    ...{ correction1: 'f32', correction2: 'f32', epsilon: 'f32' },
    ...{ measures: 'u32', clip: 'f32', pulls: 'u32' },
    ...{ xc: 'u32', x: 'u32', w: 'u32', wide: 'f32', tile: 'u32' },
    ...{ candidateStart: 'u32', candidates: 'u32', dots: 'u32' },
    ...{ wEnc: 'u32', mEnc: 'u32', vEnc: 'u32', wDec: 'u32', mDec: 'u32', vDec: 'u32' },
    ...{ opens: 'u32', bias: 'u32', mBias: 'u32', vBias: 'u32', shift: 'u32', mShift: 'u32', vShift: 'u32' },
    ...{ rMag: 'u32', mRMag: 'u32', vRMag: 'u32', factor: 'u32', updated: 'u32' },
    ...{ gEnc: 'u32', gDec: 'u32', sums: 'u32', pull: 'u32' },
  },
  Entries: {
    ...{ k: 'u32', least: 'f32', count: 'u32', next: 'u32', limit: 'u32', start: 'u32', token: 'u32', p: 'u32' },
    ...{ tokenStart: 'u32', feature: 'u32', f: 'u32', g: 'u32', r: 'u32', second: 'u32', unfrozen: 'u32' },
    ...{ l1: 'f32', l1F: 'f32', sumsF: 'u32', half: 'f32', kernel: 'f32', toEncoder: 'u32', tanhScale: 'f32' },
    ...{ weights: 'u32', counts: 'u32', fired: 'u32', totals: 'u32' },
    ...{ top: 'u32', above: 'u32', floor: 'u32', ties: 'u32' },
  },
  Quantised: { d: 'u32', levels: 'f32', flip: 'u32', q: 'u32', inverse: 'u32', error: 'u32', length: 'u32' },
  Side: {
    source: 'u32',
    type: 'u32',
    width: 'u32',
    d: 'u32',
    factors: 'u32',
    scale: 'f32',
    taken: 'u32',
    centred: 'u32',
  },
} as const;

export type BlockName = keyof typeof BLOCKS;
export type BlockFields<N extends BlockName> = Record<keyof (typeof BLOCKS)[N], number>;

/** Length of a 32-bit array that contains a block. */
export function blockLength(block: BlockName): number {
  return Object.keys(BLOCKS[block]).length;
}

/** Arrays of 32 bits by name. */
interface Words {
  u32(array: string): Uint32Array;
  f32(array: string): Float32Array;
}

/** Position and type of each field of a block. */
const FIELDS = Object.fromEntries(
  Object.entries(BLOCKS).map(([block, types]) => [
    block,
    new Map(Object.entries(types).map(([name, type], place) => [name, { place, type }])),
  ]),
) as unknown as Record<BlockName, ReadonlyMap<string, { readonly place: number; readonly type: 'u32' | 'f32' }>>;

/** Writes fields of a block to an array of the arena. */
export function writeBlock<N extends BlockName>(
  arena: Words,
  array: string,
  block: N,
  fields: Partial<BlockFields<N>>,
): void {
  const [integers, floats] = [arena.u32(array), arena.f32(array)];
  for (const name in fields) {
    const { place, type } = FIELDS[block].get(name)!;
    (type === 'f32' ? floats : integers)[place] = fields[name as keyof BlockFields<N>]!;
  }
}

/** The current value of a field of a block. */
export function readField<N extends BlockName>(
  arena: Words,
  array: string,
  block: N,
  field: keyof BlockFields<N> & string,
): number {
  return arena.u32(array)[FIELDS[block].get(field)!.place]!;
}

/** The numbers of element types in kernels/prepare.ts. */
export const STORED: Readonly<Record<ActivationDType, number>> = { float32: 0, float16: 1, bfloat16: 2 };

/** The rules' numbers in kernels/rules.ts. */
export const RULES = { relu: 0, gated: 1, jumprelu: 2 } as const;

/** The kernels compiled from kernels/*.ts, where each is documented; blocks are passed by address. */
export interface Kernels {
  centre(side: Pointer, rows: number): void;
  columnVariance(x: Pointer, rows: number, d: number, first: number, last: number): number;
  quantise(source: Pointer, rows: number, to: Pointer): void;
  transposeBytes(from: Pointer, to: Pointer, rows: number, rowsPadded: number, d: number): void;
  open(step: Pointer, list: Pointer): void;
  screen(step: Pointer, list: Pointer, first: number, from: number, to: number, capacity: number): number;
  exact(step: Pointer, list: Pointer, first: number, from: number, to: number): void;
  /** Returns 0 for false. */
  compact(step: Pointer, list: Pointer, p: Pointer, features: Pointer, first: number, rows: number): number;
  guess(step: Pointer, list: Pointer, rows: number, m: number, guesses: Pointer): void;
  raise(step: Pointer, list: Pointer, m: number, guesses: Pointer): void;
  findFloor(tops: Pointer, parts: number, rows: number, k: number, floor: Pointer, ties: Pointer): void;
  tally(step: Pointer, list: Pointer, prefix: number, shift: number, width: number, counts: Pointer): void;
  prune(step: Pointer, list: Pointer): void;
  close(step: Pointer, list: Pointer): void;
  regroup(step: Pointer, list: Pointer, first: number, last: number): void;
  decode(step: Pointer, list: Pointer): void;
  residual(sum: Pointer, target: Pointer, rows: number, d: number, factor: number): number;
  scale(to: Pointer, from: Pointer, bytes: number, factor: number): void;
  addTo(to: Pointer, from: Pointer, bytes: number): void;
  sumRows(source: Pointer, rows: number, d: number, out: Pointer): void;
  valueStrip(step: Pointer, list: Pointer, first: number, rows: number, second: boolean, to: number): void;
  gradientStrip(step: Pointer, list: Pointer, first: number, rows: number, sums: Pointer): void;
  update(step: Pointer, list: Pointer, more: Pointer, first: number, last: number): void;
  applyStrip(step: Pointer, first: number, rows: number, gEnc: Pointer, gDec: Pointer, sums: Pointer): void;
  takeWritten(): number;
  takeSquares(): number;
  decayMoments(step: Pointer, first: number, last: number): void;
}

/** The compiled module, which any number of workers may instantiate. */
export function compileKernels(): Promise<WebAssembly.Module> {
  return compileModule(new URL('kernels.wasm', import.meta.url));
}

/** Kernels operating on `memory`. */
export function bindKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Kernels;
}

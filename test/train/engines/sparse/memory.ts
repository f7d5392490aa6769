import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Generator } from '../../../../src/random/generator.js';
import {
  BLOCKS,
  type BlockFields,
  type BlockName,
  bindKernels,
  blockLength,
  type Kernels,
  writeBlock,
} from '../../../../src/train/engines/sparse/kernels.js';
import { Arena, Plan, padded } from '../../../../src/train/engines/sparse/memory.js';

type ElementType = Parameters<Plan['add']>[1];
type Numbers = Float32Array | Float64Array | Uint32Array | Int32Array | Uint16Array | Uint8Array | Int8Array;

/** Bytes between arrays, and what they hold: a kernel that writes past an array's end is seen. */
const MARGIN = 64;
const UNTOUCHED = 0xa5;

// Compiled in place of compileKernels, which would be waited for: files that wait while they load share no process.
// The types of Node know its constructor as private.
const Compiled = WebAssembly.Module as unknown as new (bytes: Uint8Array) => WebAssembly.Module;
const module = new Compiled(
  readFileSync(new URL('../../../../src/train/engines/sparse/kernels.wasm', import.meta.url)),
);

/** Kernels on a separate memory. */
export interface Memory<T extends Record<string, Numbers>> {
  readonly arena: Arena;
  readonly kernels: Kernels;
  /** The arrays as they are now. */
  readonly now: T;
  /** Address of an array's element. */
  at(name: keyof T & string, element?: number): number;
  /** Writes a block, of which there may be two of a kind, and gives its address; fields left out keep their values, 0 at first. */
  block<N extends BlockName>(block: N, fields: Partial<BlockFields<N>>, which?: 0 | 1): number;
  /** Fails if anything was written between the arrays, or at addresses near 0. */
  assertMargins(): void;
}

/** Kernels on a memory that holds copies of `arrays`. */
export function memoryOf<T extends Record<string, Numbers>>(arrays: T): Memory<T> {
  const plan = new Plan();
  for (const [name, values] of Object.entries(arrays)) {
    plan.add(name, typeOf(values), values.length);
    plan.add(`after ${name}`, 'u8', MARGIN);
  }
  const blocks = Object.keys(BLOCKS) as BlockName[];
  for (const name of blocks) for (const which of [0, 1]) plan.add(`${name} ${which}`, 'u32', blockLength(name));
  const arena = new Arena(plan);
  const bytes = new Uint8Array(arena.memory.buffer).fill(UNTOUCHED);
  for (const name of blocks) for (const which of [0, 1]) arena.u32(`${name} ${which}`).fill(0);
  const views = Object.entries(arrays).map(([name, values]) => {
    const view = arena.view(typeOf(values), name, 0);
    view.set(values);
    return [name, view] as const;
  });
  return {
    arena,
    kernels: bindKernels(module, arena.memory),
    now: Object.fromEntries(views) as unknown as T,
    at: (name, element = 0) => plan.at(name).pointer + element * arrays[name]!.BYTES_PER_ELEMENT,
    block(block, fields, which = 0) {
      writeBlock(arena, `${block} ${which}`, block, fields);
      return arena.pointer(`${block} ${which}`);
    },
    assertMargins() {
      // Address 0 stands for arrays that a standard SAE does without.
      assert.ok(
        bytes.subarray(0, plan.at(views[0]![0]).pointer).every((byte) => byte === UNTOUCHED),
        'address 0 was written to',
      );
      for (const [name, view] of views) {
        const end = view.byteOffset + view.byteLength;
        const margin = bytes.subarray(end, plan.at(`after ${name}`).pointer + MARGIN);
        assert.ok(
          margin.every((byte) => byte === UNTOUCHED),
          `${name} was written beyond its end`,
        );
      }
    },
  };
}

function typeOf(values: Numbers): ElementType {
  if (values instanceof Float32Array) return 'f32';
  if (values instanceof Float64Array) return 'f64';
  if (values instanceof Uint32Array) return 'u32';
  if (values instanceof Int32Array) return 'i32';
  if (values instanceof Uint16Array) return 'u16';
  return values instanceof Int8Array ? 'i8' : 'u8';
}

/** Standard normal numbers times `scale`. */
export function normals(random: Generator, length: number, scale = 1): Float32Array {
  return Float32Array.from({ length }, () => scale * random.normal());
}

/** Rows of `dIn` normal numbers, padded with zeros as the engine pads them. */
export function normalRows(random: Generator, rows: number, dIn: number, scale = 1): Float32Array {
  return padRows(normals(random, rows * dIn, scale), rows, dIn);
}

/** Rows of length `dIn` with zeros up to the engine's row length. */
export function padRows(values: ArrayLike<number>, rows: number, dIn: number): Float32Array {
  const d = padded(dIn);
  const out = new Float32Array(rows * d);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < dIn; i++) out[row * d + i] = values[row * dIn + i]!;
  }
  return out;
}

/** An array for a kernel to fill: entries that it forgets are unlikely results. */
export function unset(length: number): Float32Array {
  return new Float32Array(length).fill(-7e6);
}

export function unsetIntegers(length: number): Uint32Array {
  return new Uint32Array(length).fill(0xdeadbeef);
}

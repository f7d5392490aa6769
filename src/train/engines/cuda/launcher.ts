/** The kernels of a run, launched by name on its arrays. */
import type { EngineSettings } from '../engine.js';
import type { CompiledKernels, CudaDevice, DevicePointer } from './device.js';
import type { DeviceArrays } from './device-arrays.js';
import { type ArrayField, type Field, type KernelName, type NumberField, packArguments } from './kernels/arguments.js';
import { SCAN_TILE } from './kernels/scan.js';
import { type CudaPlan, WARP } from './plan.js';

/** Default threads per block. */
export const THREADS = 256;
/** Threads per block in which each warp takes rows and each lane a column. */
export const COLUMN_THREADS = 1024;
export const WARPS = THREADS / WARP;
/** Threads per block that scans a tile. */
const SCAN_TILE_THREADS = 1024;

export type KernelValues = Partial<Record<ArrayField, DevicePointer> & Record<NumberField, number>>;

/** Starts of each token's entries in a list, and the number of entries up to the end of the list. */
export type TokenStarts = Readonly<Record<'token_start' | 'total', DevicePointer>>;

/** Blocks in x, or in x and y, and threads in x. */
export interface GridShape {
  readonly blocks: number | readonly [number, number];
  readonly threads: number;
}

/** Launches kernels on the arrays of their fields' names. */
export class Launcher {
  constructor(
    private readonly kernels: CompiledKernels,
    private readonly arrays: DeviceArrays,
  ) {}

  /** @param values of numeric fields, and of fields other than the array of their name */
  run(kernel: KernelName, { blocks, threads }: GridShape, values: KernelValues = {}): void {
    const valueFor = (field: Field) => {
      if (field === 'room') return values.room ?? this.arrays.room;
      return values[field] ?? this.arrays.at(field.replace(/^([mv])_/, '$1/'));
    };
    this.kernels.launch(kernel, blocks, threads, packArguments(kernel, valueFor));
  }

  /** Computes the starts of runs from their n counts, after `before` others; `end` is set to the total. */
  scan(n: number, ends: Record<'counts' | 'starts' | 'before' | 'end', DevicePointer>): void {
    const shape = { blocks: Math.ceil(n / SCAN_TILE), threads: SCAN_TILE_THREADS };
    if (shape.blocks > 1) this.run('sumTiles', shape, { counts: ends.counts, n });
    this.run('scan', shape, { ...ends, n });
  }
}

/** Everything a step uses. */
export interface StepParts {
  readonly settings: EngineSettings;
  readonly plan: CudaPlan;
  readonly device: CudaDevice;
  readonly arrays: DeviceArrays;
  readonly launcher: Launcher;
}

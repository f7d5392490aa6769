import { compileModule, WASM_PAGE } from '../machine/webassembly.js';
import type { ActivationDType } from './manifest.js';
import type { ActivationArray } from './rows.js';
import type { ActivationSums } from './statistics.js';

/** Numbers of the element types in kernels/index.ts. */
const TYPES: Readonly<Record<ActivationDType, number>> = { float32: 0, float16: 1, bfloat16: 2 };
/** Bytes of rows copied into the kernel's memory at a time: few enough to stay in the cache. */
const BLOCK = 2 ** 17;
/** Rows added by the kernel at a time. */
const TOGETHER = 4;

interface Kernels {
  addRows(x: number, type: number, rows: number, d: number, sums: number, norms: number): void;
}

let compiled: Promise<WebAssembly.Module> | undefined;

/** `ActivationSums.add` in WebAssembly: the same bits in less time. */
export class SumsKernel {
  private readonly kernels: Kernels;
  /** [2, d]: Σ x, Σ x² */
  private readonly sums: Float64Array;
  /** |x|² of the rows of a block */
  private readonly norms: Float64Array;
  private readonly x: ActivationArray;

  private constructor(
    module: WebAssembly.Module,
    private readonly d: number,
    private readonly dtype: ActivationDType,
  ) {
    const Entries = dtype === 'float32' ? Float32Array : Uint16Array;
    const bytes = d * Entries.BYTES_PER_ELEMENT;
    const rows = TOGETHER * Math.max(1, Math.floor(BLOCK / (TOGETHER * bytes)));
    const pages = Math.ceil((16 * d + 8 * rows + rows * bytes) / WASM_PAGE);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.sums = new Float64Array(memory.buffer, 0, 2 * d);
    this.norms = new Float64Array(memory.buffer, 16 * d, rows);
    this.x = new Entries(memory.buffer, 16 * d + 8 * rows, rows * d);
    this.kernels = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Kernels;
  }

  static async open(d: number, dtype: ActivationDType): Promise<SumsKernel> {
    compiled ??= compileModule(new URL('kernels.wasm', import.meta.url));
    return new SumsKernel(await compiled, d, dtype);
  }

  /**
   * Adds [rows × d] values to `to`.
   *
   * @param each called with the bytes of all values, block by block; they are overwritten afterwards
   */
  add(values: ActivationArray, to: ActivationSums, each?: (block: Uint8Array) => void): void {
    const { d, sums, norms, x } = this;
    sums.set(to.sum);
    sums.set(to.squares, d);
    const found = new Float64Array(values.length / d);
    for (let row = 0; row < found.length; row += norms.length) {
      const rows = Math.min(norms.length, found.length - row);
      (x as Float32Array).set(values.subarray(row * d, (row + rows) * d) as Float32Array);
      each?.(new Uint8Array(x.buffer, x.byteOffset, rows * d * x.BYTES_PER_ELEMENT));
      this.kernels.addRows(x.byteOffset, TYPES[this.dtype], rows, d, sums.byteOffset, norms.byteOffset);
      for (let i = 0; i < rows; i++) found[row + i] = Math.sqrt(norms[i]!);
    }
    to.sum.set(sums.subarray(0, d));
    to.squares.set(sums.subarray(d));
    to.count(found);
  }
}

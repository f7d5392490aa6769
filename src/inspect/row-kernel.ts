import type { ActivationDType } from '../activations/manifest.js';
import type { ActivationArray } from '../activations/rows.js';
import { compileModule, WASM_PAGE } from '../machine/webassembly.js';
import { widen } from '../safetensors/floats.js';
import type { OfRows, RowTotals } from './row-sums.js';

/** Bytes of rows in float32 that are added at a time: few enough to stay in the cache. */
const BLOCK = 2 ** 17;

interface Kernels {
  place(d: number, centre: number, sums: number): void;
  addRows(x: number, rows: number, norms: number, spreads: number): void;
}

let compiled: Promise<WebAssembly.Module> | undefined;

/** What `RowSums` adds up of the rows of one shard, in WebAssembly: the same but for rounding, in less time. */
export class RowKernel {
  private readonly kernels: Kernels;
  /** Dimensions and one of padding where they are odd. */
  private readonly padded: number;
  /** [4, padded], as kernels/index.ts has it */
  private readonly sums: Float64Array;
  /** [block], |x|² and |x − c|² of the rows of a block */
  private readonly norms: Float64Array;
  private readonly spreads: Float64Array;
  /** [block, padded] */
  private readonly x: Float32Array;

  private constructor(
    module: WebAssembly.Module,
    private readonly centre: Float64Array,
    private readonly dtype: ActivationDType,
  ) {
    const d = centre.length;
    const padded = d + (d % 2);
    const block = 2 * Math.max(1, Math.floor(BLOCK / (8 * padded)));
    const pages = Math.ceil((40 * padded + 16 * block + 4 * block * padded) / WASM_PAGE);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    let end = 0;
    const doubles = (length: number) => {
      const array = new Float64Array(memory.buffer, end, length);
      end += array.byteLength;
      return array;
    };
    const about = doubles(padded);
    about.set(centre);
    this.sums = doubles(4 * padded);
    this.norms = doubles(block);
    this.spreads = doubles(block);
    this.x = new Float32Array(memory.buffer, end, block * padded);
    this.padded = padded;
    this.kernels = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Kernels;
    this.kernels.place(d, about.byteOffset, this.sums.byteOffset);
  }

  /** @param centre c of RowSums, [d] */
  static async open(centre: Float64Array, dtype: ActivationDType): Promise<RowKernel> {
    compiled ??= compileModule(new URL('kernels.wasm', import.meta.url));
    return new RowKernel(await compiled, centre, dtype);
  }

  /** What is told of [rows × d] values, and their sums. */
  add(values: ActivationArray): OfRows & { readonly totals: RowTotals } {
    const { centre, padded, sums, norms, spreads, x } = this;
    const d = centre.length;
    const rows = values.length / d;
    const found = { norms: new Float64Array(rows), spreads: new Float64Array(rows) };
    sums.fill(0);
    for (let row = 0; row < rows; row += norms.length) {
      const count = Math.min(norms.length, rows - row);
      this.take(values.subarray(row * d, (row + count) * d));
      const even = count + (count % 2);
      x.fill(0, count * padded, even * padded);
      this.kernels.addRows(x.byteOffset, even, norms.byteOffset, spreads.byteOffset);
      for (let i = 0; i < count; i++) found.norms[row + i] = Math.sqrt(norms[i]!);
      found.spreads.set(spreads.subarray(0, count), row);
    }
    const [sum, squares, normalisedSum, normalisedSquares] = [0, 1, 2, 3].map((i) =>
      sums.slice(i * padded, i * padded + d),
    ) as [Float64Array, Float64Array, Float64Array, Float64Array];
    return { ...found, totals: { sum, squares, normalisedSum, normalisedSquares } };
  }

  /** Puts rows into the kernel's memory as float32. */
  private take(values: ActivationArray): void {
    const { centre, padded, dtype, x } = this;
    const d = centre.length;
    if (padded === d) {
      if (values instanceof Float32Array) x.set(values);
      else widen(values, dtype, x.subarray(0, values.length));
      return;
    }
    for (let from = 0, to = 0; from < values.length; from += d, to += padded) {
      const row = values.subarray(from, from + d);
      if (row instanceof Float32Array) x.set(row, to);
      else widen(row, dtype, x.subarray(to, to + d));
    }
  }
}

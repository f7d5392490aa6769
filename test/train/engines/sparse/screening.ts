import { padded } from '../../../../src/train/engines/sparse/memory.js';
import { type Memory, memoryOf, unset, unsetIntegers } from './memory.js';

/** Weight rows and token rows, as `normalRows` makes them. */
export interface Operands {
  readonly w: Float32Array;
  readonly x: Float32Array;
  readonly rows: number;
  readonly B: number;
  readonly d: number;
}

/** What `screen` found. */
export interface Found {
  readonly count: number;
  /** Candidates of each feature; empty when there were too many. */
  readonly candidates: readonly (readonly number[])[];
}

/** The encoder's widening of the bound for float32 roundings. */
export function widening(d: number): number {
  return Math.fround((d / 4 + 16) * 2 ** -23);
}

/** Screens one pair of operands under any biases: the int8 product is computed in integers, once. */
export class Screening {
  /** w · x [rows, B] as `encode` computes it. */
  readonly exact: Float32Array;
  readonly acc: Int32Array;
  private readonly Bp: number;
  private readonly memory: Memory<ReturnType<typeof arraysOf>>;
  private readonly step: number;

  constructor(
    readonly operands: Operands,
    levels: number,
  ) {
    const { rows, B, d } = operands;
    this.Bp = padded(B);
    this.memory = memoryOf(arraysOf(operands, this.Bp));
    const { at, kernels, now } = this.memory;
    const { memory } = this;
    // Error and length of tokens follow 1 / step, as in the engine.
    const numbers = (of: 'x' | 'w', apart: number) => {
      const [inverse, error, length] = [0, 1, 2].map((n) => at(`${of}Numbers`, n * apart)) as [number, number, number];
      return { d, q: at(`${of}Q`), inverse, error, length };
    };
    const x = memory.block('Quantised', { ...numbers('x', this.Bp), levels, flip: 0 }, 0);
    const w = memory.block('Quantised', { ...numbers('w', rows), levels: 127, flip: 128 }, 1);
    kernels.quantise(at('x'), B, x);
    kernels.quantise(at('w'), rows, w);
    const lists = { candidateStart: at('start'), candidates: at('candidates'), dots: at('dots') };
    this.step = memory.block('Step', {
      ...{ features: rows, B, Bp: this.Bp, dIn: d, xc: at('x'), x, w, wide: widening(d), tile: at('acc') },
      ...{ ...lists, wEnc: at('w'), opens: at('bias'), bias: at('bias') },
    });
    const signed = new Int8Array(now.xQ.buffer, now.xQ.byteOffset, now.xQ.length);
    for (let j = 0; j < rows; j++) {
      for (let b = 0; b < B; b++) {
        let sum = 0;
        for (let i = 0; i < d; i++) sum += (now.wQ[j * d + i]! - 128) * signed[b * d + i]!;
        now.acc[j * this.Bp + b] = sum;
      }
    }
    this.acc = now.acc;
    this.exact = this.products();
  }

  /**
   * Candidates by the kernel; `capacity` counts candidates.
   *
   * @param tops the k largest of each token so far, where that is what is above
   */
  run(bias: Float32Array, capacity = this.operands.rows * this.operands.B, tops?: Float32Array): Found {
    const { rows, B } = this.operands;
    const { at, kernels, now } = this.memory;
    now.bias.set(bias);
    now.start.fill(0xdeadbeef);
    if (tops) now.top.set(tops);
    const k = tops ? tops.length / B : 0;
    const list = this.memory.block('Entries', { k, top: at('top'), above: at('above') });
    const count = kernels.screen(this.step, list, 0, 0, rows, capacity);
    this.memory.assertMargins();
    if (count < 0) return { count, candidates: [] };
    const { start } = now;
    const candidates = Array.from({ length: rows }, (_, j) => [...now.candidates.slice(start[j]!, start[j + 1]!)]);
    return { count, candidates };
  }

  /** The bound's value in float64 for each feature and token, and the size of its terms. */
  bound(bias: Float32Array, j: number, b: number): { value: number; size: number } {
    const { wInverse, wError, wLength, xInverse, xError, xLength } = this.numbers();
    const product = this.acc[j * this.Bp + b]!;
    const shift = bias[j]! * wInverse[j]! * xInverse[b]!;
    const slack =
      xError[b]! * wLength[j]! + wError[j]! * xLength[b]! + widening(this.operands.d) * wLength[j]! * xLength[b]!;
    return { value: product + shift + slack, size: Math.abs(product) + Math.abs(shift) + slack };
  }

  /** What the bias of feature j is to make up for, in its own units, before token b is excluded. */
  boundWithout(j: number, b: number): number {
    const { wInverse, xInverse } = this.numbers();
    return this.bound(new Float32Array(this.operands.rows), j, b).value / wInverse[j]! / xInverse[b]!;
  }

  private numbers() {
    const { xNumbers, wNumbers } = this.memory.now;
    const { rows } = this.operands;
    const part = (values: Float32Array, n: number, length: number) => values.subarray(n * length, (n + 1) * length);
    const [xInverse, xError, xLength] = [0, 1, 2].map((n) => part(xNumbers, n, this.Bp)) as [F32, F32, F32];
    const [wInverse, wError, wLength] = [0, 1, 2].map((n) => part(wNumbers, n, rows)) as [F32, F32, F32];
    return { xInverse, xError, xLength, wInverse, wError, wLength };
  }

  /** All products by `exact`, which keeps every token whose bias is infinite. */
  private products(): Float32Array {
    const { rows, B } = this.operands;
    const { at, kernels, now } = this.memory;
    now.bias.fill(Number.POSITIVE_INFINITY);
    now.start.forEach((_, j) => {
      now.start[j] = j * B;
    });
    now.candidates.forEach((_, k) => {
      now.candidates[k] = k % B;
    });
    const out = { start: at('entryStart'), token: at('token'), p: at('p') };
    const list = this.memory.block('Entries', { k: 0, count: 0, next: 0, ...out });
    kernels.exact(this.step, list, 0, 0, rows);
    return now.p.slice(0, rows * B);
  }
}

type F32 = Float32Array;

function arraysOf({ w, x, rows, B, d }: Operands, Bp: number) {
  return {
    w,
    x,
    wQ: new Uint8Array(rows * d),
    xQ: new Uint8Array(B * d),
    wNumbers: unset(3 * rows),
    // Zero beyond B, as in the engine.
    xNumbers: new Float32Array(3 * Bp),
    top: new Float32Array(4 * B),
    above: new Float32Array(Bp),
    dots: new Float32Array(8),
    acc: new Int32Array(rows * Bp),
    bias: unset(rows),
    start: unsetIntegers(rows + 1),
    candidates: unsetIntegers(rows * B),
    entryStart: unsetIntegers(rows + 1),
    token: unsetIntegers(rows * B + 1),
    p: unset(rows * B + 1),
  };
}

/** The float32 number `ulps` below x, of any sign. */
export function ulpsBelow(x: number, ulps: number): number {
  const bits = new Int32Array(Float32Array.of(x).buffer);
  // Float32 numbers, mapped to integers in their order.
  const order = bits[0]! < 0 ? -(bits[0]! & 0x7fffffff) : bits[0]!;
  const lower = order - ulps;
  bits[0] = lower < 0 ? -lower | (1 << 31) : lower;
  return new Float32Array(bits.buffer)[0]!;
}

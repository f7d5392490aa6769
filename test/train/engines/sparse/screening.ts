import { padded } from '../../../../src/train/engines/sparse/slice-plan.js';
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

  constructor(
    readonly operands: Operands,
    levels: number,
  ) {
    const { rows, B, d } = operands;
    this.Bp = padded(B);
    this.memory = memoryOf(arraysOf(operands, this.Bp));
    const { at, kernels, now } = this.memory;
    kernels.quantise(at('x'), B, d, levels, 0, at('xQ'), at('xInverse'), at('xError'), at('xLength'));
    kernels.quantise(at('w'), rows, d, 127, 128, at('wQ'), at('wInverse'), at('wError'), at('wLength'));
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

  /** Candidates by the kernel; `capacity` counts candidates. */
  run(bias: Float32Array, capacity = this.operands.rows * this.operands.B): Found {
    const { rows, B, d } = this.operands;
    const { at, kernels, now } = this.memory;
    now.bias.set(bias);
    now.start.fill(0xdeadbeef);
    const w = [at('wInverse'), at('wError'), at('wLength')] as const;
    const x = [at('xInverse'), at('xError'), at('xLength')] as const;
    const lists = [at('start'), at('candidates')] as const;
    const wide = widening(d);
    const count = kernels.screen(at('acc'), rows, B, this.Bp, at('bias'), ...w, ...x, wide, ...lists, capacity);
    this.memory.assertMargins();
    if (count < 0) return { count, candidates: [] };
    const { start } = now;
    const candidates = Array.from({ length: rows }, (_, j) => [...now.candidates.slice(start[j]!, start[j + 1]!)]);
    return { count, candidates };
  }

  /** The bound's value in float64 for each feature and token, and the size of its terms. */
  bound(bias: Float32Array, j: number, b: number): { value: number; size: number } {
    const { wInverse, wError, wLength, xInverse, xError, xLength } = this.memory.now;
    const product = this.acc[j * this.Bp + b]!;
    const shift = bias[j]! * wInverse[j]! * xInverse[b]!;
    const slack =
      xError[b]! * wLength[j]! + wError[j]! * xLength[b]! + widening(this.operands.d) * wLength[j]! * xLength[b]!;
    return { value: product + shift + slack, size: Math.abs(product) + Math.abs(shift) + slack };
  }

  /** What the bias of feature j is to make up for, in its own units, before token b is excluded. */
  boundWithout(j: number, b: number): number {
    const { wInverse, xInverse } = this.memory.now;
    return this.bound(new Float32Array(this.operands.rows), j, b).value / wInverse[j]! / xInverse[b]!;
  }

  /** All products by `encode`, which keeps every token whose bias is infinite. */
  private products(): Float32Array {
    const { rows, B, d } = this.operands;
    const { at, kernels, now } = this.memory;
    now.bias.fill(Number.POSITIVE_INFINITY);
    now.start.forEach((_, j) => {
      now.start[j] = j * B;
    });
    now.candidates.forEach((_, k) => {
      now.candidates[k] = k % B;
    });
    const lists = [at('start'), at('candidates')] as const;
    const out = [at('entryStart'), at('token'), at('p')] as const;
    const entries = kernels.encode(at('w'), rows, at('x'), d, ...lists, at('bias'), ...out, 0);
    if (entries !== rows * B) throw new Error(`encode kept ${entries} of ${rows * B} products`);
    return now.p.slice(0, entries);
  }
}

function arraysOf({ w, x, rows, B, d }: Operands, Bp: number) {
  return {
    w,
    x,
    wQ: new Uint8Array(rows * d),
    xQ: new Uint8Array(B * d),
    wInverse: unset(rows),
    wError: unset(rows),
    wLength: unset(rows),
    // Zero beyond B, as in the engine.
    xInverse: new Float32Array(Bp),
    xError: new Float32Array(Bp),
    xLength: new Float32Array(Bp),
    acc: new Int32Array(rows * Bp),
    bias: unset(rows),
    start: unsetIntegers(rows + 1),
    candidates: unsetIntegers(rows * B),
    entryStart: unsetIntegers(rows),
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

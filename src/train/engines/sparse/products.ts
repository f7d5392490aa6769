import type { Tensor } from 'onnxruntime-node';
import { onnxRuntime, openSession, type Session } from '../../../onnx/session.js';
import type { Arena } from './memory.js';
import type { ProductGraphs } from './product-graphs.js';

/** A float32 matrix in an arena's array, starting at element `from`. */
export interface Matrix {
  readonly array: string;
  readonly from?: number;
  readonly rows: number;
  readonly columns: number;
}

/**
 * The matrix products of a worker, in ONNX Runtime on one thread, on views of the worker's memory: nothing is copied.
 * Each session accepts matrices of any size.
 */
export class Products {
  private constructor(
    private readonly arena: Arena,
    private readonly ort: typeof import('onnxruntime-node'),
    private readonly sessions: Record<keyof ProductGraphs, Session>,
    /** Largest int8 activation for which no processor's int8 product saturates. */
    readonly levels: number,
  ) {}

  static async open(arena: Arena, graphs: ProductGraphs): Promise<Products> {
    const ort = await onnxRuntime();
    const sessions = {
      integer: await openSession(graphs.integer, { threads: 1 }),
      plain: await openSession(graphs.plain, { threads: 1 }),
      transposedA: await openSession(graphs.transposedA, { threads: 1 }),
      transposedB: await openSession(graphs.transposedB, { threads: 1 }),
    };
    return new Products(arena, ort, sessions, await exactLevels(ort, sessions.integer));
  }

  /** out = a · b for uint8 a with zero point 128 and int8 b, as int32 in `out`. */
  async integer(a: Matrix, b: Matrix, out: Matrix): Promise<void> {
    const { Tensor } = this.ort;
    const view = <T extends 'u8' | 'i8' | 'i32'>(type: T, m: Matrix) =>
      this.arena.view(type, m.array, m.from ?? 0, m.rows * m.columns);
    await this.sessions.integer.run(
      {
        a: new Tensor('uint8', view('u8', a), [a.rows, a.columns]),
        zero: new Tensor('uint8', Uint8Array.of(128), []),
        b: new Tensor('int8', view('i8', b), [b.rows, b.columns]),
      },
      { out: new Tensor('int32', view('i32', out), [out.rows, out.columns]) },
    );
  }

  /** out = a · b */
  plain(a: Matrix, b: Matrix, out: Matrix): Promise<void> {
    return this.float(this.sessions.plain, a, b, out);
  }

  /** out = aᵀ · b */
  transposedA(a: Matrix, b: Matrix, out: Matrix): Promise<void> {
    return this.float(this.sessions.transposedA, a, b, out);
  }

  /** out = a · bᵀ */
  transposedB(a: Matrix, b: Matrix, out: Matrix): Promise<void> {
    return this.float(this.sessions.transposedB, a, b, out);
  }

  async close(): Promise<void> {
    for (const session of Object.values(this.sessions)) await session.release();
  }

  private async float(session: Session, a: Matrix, b: Matrix, out: Matrix): Promise<void> {
    await session.run({ a: this.tensor(a), b: this.tensor(b) }, { out: this.tensor(out) });
  }

  private tensor(m: Matrix): Tensor {
    return new this.ort.Tensor('float32', this.arena.f32(m.array, m.from, m.rows * m.columns), [m.rows, m.columns]);
  }
}

/**
 * 127 if products of uint8 and int8 are exact, otherwise 63: processors without such an instruction add pairs of
 * products in 16 bits, where 2 · 255 · 127 does not fit (ONNX Runtime's quantisation documentation).
 */
async function exactLevels(ort: typeof import('onnxruntime-node'), session: Session): Promise<number> {
  const inner = 64;
  const { out } = await session.run({
    a: new ort.Tensor('uint8', new Uint8Array(inner).fill(255), [1, inner]),
    zero: new ort.Tensor('uint8', Uint8Array.of(0), []),
    b: new ort.Tensor('int8', new Int8Array(16 * inner).fill(127), [inner, 16]),
  });
  return (out!.data as Int32Array).every((value) => value === inner * 255 * 127) ? 127 : 63;
}

import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession, type Session } from '../onnx/session.js';

/** Entries of activations that go through the graph at a time: 16 MiB in float32. */
const CHUNK = 2 ** 22;

/** Covariance of rows, [d × d], and how many they were. */
export interface Covariance {
  readonly rows: number;
  readonly matrix: Float64Array;
}

/**
 * Σ u uᵀ of rows about a centre: products of a chunk in float32, chunks added up in float64. The centre should be near
 * the mean, or what is left of a large one costs digits.
 */
export class SecondMoments {
  private rows = 0;
  private readonly products: Float64Array;
  /** Σ u, [d] */
  private readonly sum: Float64Array;

  private constructor(
    private readonly session: Session,
    private readonly centre: Float32Array,
  ) {
    this.products = new Float64Array(centre.length ** 2);
    this.sum = new Float64Array(centre.length);
  }

  static async open(centre: Float32Array, threads: number): Promise<SecondMoments> {
    return new SecondMoments(await openSession(momentsGraph(centre.length), { threads }), centre);
  }

  /** Rows of a chunk, at most. */
  get chunkRows(): number {
    return Math.max(1, Math.floor(CHUNK / this.centre.length));
  }

  /** @param x [rows × d], chunkRows at most */
  async add(x: Float32Array): Promise<void> {
    const d = this.centre.length;
    const rows = x.length / d;
    if (rows === 0) return;
    const { Tensor } = await onnxRuntime();
    const found = await this.session.run({
      x: new Tensor('float32', x, [rows, d]),
      centre: new Tensor('float32', this.centre, [d]),
    });
    const [products, sum] = [found.products!.data as Float32Array, found.sum!.data as Float32Array];
    for (let i = 0; i < products.length; i++) this.products[i]! += products[i]!;
    for (let i = 0; i < d; i++) this.sum[i]! += sum[i]!;
    this.rows += rows;
  }

  /**
   * Of all rows, or of those that were not given to `without`.
   *
   * @returns undefined where there is none
   */
  covariance(without?: SecondMoments): Covariance | undefined {
    const d = this.centre.length;
    const rows = this.rows - (without?.rows ?? 0);
    if (rows === 0) return undefined;
    const mean = this.sum.map((sum, i) => (sum - (without?.sum[i] ?? 0)) / rows);
    const matrix = this.products.map((product, k) => (product - (without?.products[k] ?? 0)) / rows);
    for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) matrix[i * d + j]! -= mean[i]! * mean[j]!;
    return { rows, matrix };
  }

  release(): Promise<void> {
    return this.session.release();
  }
}

/** Inputs `x` [rows, d] and `centre` [d]; outputs `products` [d, d], Σ u uᵀ with u = x − centre, and `sum` [d], Σ u. */
function momentsGraph(d: number): Uint8Array {
  const g = new GraphBuilder('second-moments');
  const x = g.input('x', 'float32', ['rows', d]);
  const u = g.sub(x, g.input('centre', 'float32', [d]));
  g.output('products', g.matmul(u, u, { transA: true }), 'float32', [d, d]);
  g.output('sum', g.reduceSum(u, [0]), 'float32', [d]);
  return g.encode();
}

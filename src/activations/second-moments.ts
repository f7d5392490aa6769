import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession, type Session } from '../onnx/session.js';

/** Entries of activations per run of the graph: 16 MiB in float32. */
const CHUNK = 2 ** 22;
/**
 * Width of the blocks of columns in which products are computed; blocks above the diagonal are skipped: 6 of 16 with
 * four strips of columns, 28 of 64 with eight, the maximum.
 */
const [STRIP, MOST_STRIPS] = [128, 8];

/** Covariance of rows, [d × d], and their number. */
export interface Covariance {
  readonly rows: number;
  readonly matrix: Float64Array;
}

/**
 * Σ u uᵀ of rows about a centre: products of a chunk in float32, chunks added up in float64. The centre should be near
 * the mean: a large remainder costs digits.
 */
export class SecondMoments {
  private rows = 0;
  /** Only the lower triangle is used. */
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

  /** Max rows of a chunk. */
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
    for (const { name, rows: of, columns } of blocksOf(d)) {
      const [block, width] = [found[name]!.data as Float32Array, columns.end - columns.first];
      for (let i = of.first; i < of.end; i++) {
        const end = Math.min(columns.end, i + 1);
        const [to, from] = [i * d, (i - of.first) * width - columns.first];
        for (let j = columns.first; j < end; j++) this.products[to + j]! += block[from + j]!;
      }
    }
    const sum = found.sum!.data as Float32Array;
    for (let i = 0; i < d; i++) this.sum[i]! += sum[i]!;
    this.rows += rows;
  }

  /**
   * The covariance of all rows, or of those that were not given to `without`.
   *
   * @returns undefined if there is none
   */
  covariance(without?: SecondMoments): Covariance | undefined {
    const d = this.centre.length;
    const rows = this.rows - (without?.rows ?? 0);
    if (rows === 0) return undefined;
    const mean = this.sum.map((sum, i) => (sum - (without?.sum[i] ?? 0)) / rows);
    const matrix = new Float64Array(d * d);
    for (let i = 0; i < d; i++) {
      for (let j = 0; j <= i; j++) {
        const product = this.products[i * d + j]! - (without?.products[i * d + j] ?? 0);
        matrix[i * d + j] = product / rows - mean[i]! * mean[j]!;
        matrix[j * d + i] = matrix[i * d + j]!;
      }
    }
    return { rows, matrix };
  }

  release(): Promise<void> {
    return this.session.release();
  }
}

/** Columns from `first` up to `end`. */
interface Strip {
  readonly first: number;
  readonly end: number;
}

function stripsOf(d: number): Strip[] {
  const strips = Math.max(1, Math.min(MOST_STRIPS, Math.round(d / STRIP)));
  const at = (strip: number) => Math.round((strip * d) / strips);
  return Array.from({ length: strips }, (_, strip) => ({ first: at(strip), end: at(strip + 1) }));
}

/** Blocks of Σ u uᵀ on and below its diagonal. */
function blocksOf(d: number): { readonly name: string; readonly rows: Strip; readonly columns: Strip }[] {
  const strips = stripsOf(d);
  return strips.flatMap((rows, i) =>
    strips.slice(0, i + 1).map((columns) => ({ name: `block ${rows.first} ${columns.first}`, rows, columns })),
  );
}

/** Inputs `x` [rows, d] and `centre` [d]; outputs `sum` [d], Σ u with u = x − centre, and the blocks of Σ u uᵀ. */
function momentsGraph(d: number): Uint8Array {
  const g = new GraphBuilder('second-moments');
  const x = g.input('x', 'float32', ['rows', d]);
  const u = g.sub(x, g.input('centre', 'float32', [d]));
  const columnsOf = new Map(stripsOf(d).map(({ first, end }) => [first, g.slice(u, first, end, 1)]));
  for (const { name, rows, columns } of blocksOf(d)) {
    const block = g.matmul(columnsOf.get(rows.first)!, columnsOf.get(columns.first)!, { transA: true });
    g.output(name, block, 'float32', [rows.end - rows.first, columns.end - columns.first]);
  }
  g.output('sum', g.reduceSum(u, [0]), 'float32', [d]);
  return g.encode();
}

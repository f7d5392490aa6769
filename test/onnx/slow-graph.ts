import type { GraphBuilder } from '../../src/onnx/graph.js';
import type { NodeProto } from '../../src/onnx/onnx_pb.js';
import { intAttribute } from '../../src/onnx/shapes.js';

/** Numbers in row-major order. */
export interface Tensor {
  readonly dims: readonly number[];
  readonly values: Float64Array;
}

const sizeOf = (dims: readonly number[]) => dims.reduce((product, dim) => product * dim, 1);
const scalar = (value: number): Tensor => ({ dims: [], values: Float64Array.of(value) });

/** The place of each entry in row-major order. */
function* places(dims: readonly number[]): Generator<number[]> {
  for (let k = 0; k < sizeOf(dims); k++) {
    let rest = k;
    const place = dims.map(() => 0);
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      place[axis] = rest % dims[axis]!;
      rest = Math.floor(rest / dims[axis]!);
    }
    yield place;
  }
}

/** The entry at a place, counted from the last axis; axes of length 1 are broadcast. */
function entry({ dims, values }: Tensor, place: readonly number[]): number {
  let k = 0;
  for (const [axis, dim] of dims.entries()) k = k * dim + (dim === 1 ? 0 : place[axis + place.length - dims.length]!);
  return values[k]!;
}

function mapped(operands: readonly Tensor[], of: (...x: number[]) => number, least: readonly number[] = []): Tensor {
  const rank = Math.max(least.length, ...operands.map(({ dims }) => dims.length));
  const all = [{ dims: least }, ...operands];
  const dims = Array.from({ length: rank }, (_, axis) =>
    Math.max(...all.map(({ dims: own }) => own[axis - rank + own.length] ?? 1)),
  );
  return { dims, values: Float64Array.from(places(dims), (place) => of(...operands.map((one) => entry(one, place)))) };
}

const ENTRYWISE: Readonly<Record<string, (...x: number[]) => number>> = {
  Add: (a, b) => a! + b!,
  Sub: (a, b) => a! - b!,
  Mul: (a, b) => a! * b!,
  Div: (a, b) => a! / b!,
  Relu: (a) => Math.max(0, a!),
  Exp: (a) => Math.exp(a!),
  Tanh: (a) => Math.tanh(a!),
  Sqrt: (a) => Math.sqrt(a!),
  Neg: (a) => -a!,
  Identity: (a) => a!,
  Cast: (a) => a!,
  Greater: (a, b) => Number(a! > b!),
  GreaterOrEqual: (a, b) => Number(a! >= b!),
  Where: (c, a, b) => (c ? a! : b!),
  Min: (a, b) => Math.min(a!, b!),
};

const REDUCE: Readonly<Record<string, (x: readonly number[]) => number>> = {
  ReduceSum: (x) => x.reduce((sum, one) => sum + one, 0),
  ReduceMean: (x) => x.reduce((sum, one) => sum + one, 0) / x.length,
  ReduceSumSquare: (x) => x.reduce((sum, one) => sum + one * one, 0),
};

function product(a: Tensor, b: Tensor, transA: boolean, transB: boolean): Tensor {
  if (b.dims.length === 1) {
    const column = product(a, { dims: [b.dims[0]!, 1], values: b.values }, transA, false);
    return { dims: [column.dims[0]!], values: column.values };
  }
  if (a.dims.length === 1) {
    const row = product({ dims: [1, a.dims[0]!], values: a.values }, b, false, transB);
    return { dims: [row.dims[1]!], values: row.values };
  }
  const [m, k] = transA ? [a.dims[1]!, a.dims[0]!] : [a.dims[0]!, a.dims[1]!];
  const n = transB ? b.dims[0]! : b.dims[1]!;
  const at = ({ dims, values }: Tensor, i: number, j: number, turned: boolean) =>
    values[turned ? j * dims[1]! + i : i * dims[1]! + j]!;
  const values = Float64Array.from(places([m, n]), ([i, j]) => {
    let sum = 0;
    for (let t = 0; t < k; t++) sum += at(a, i!, t, transA) * at(b, t, j!, transB);
    return sum;
  });
  return { dims: [m, n], values };
}

function reduced(made: NodeProto, [x, axes]: readonly Tensor[]): Tensor {
  const gone = [...axes!.values].map((axis) => (axis < 0 ? axis + x!.dims.length : axis));
  const kept = x!.dims.map((dim, axis) => (gone.includes(axis) ? 1 : dim));
  const groups = Array.from(places(kept), (): number[] => []);
  const index = Array.from(places(kept), (place) => place.join());
  for (const place of places(x!.dims)) {
    groups[index.indexOf(place.map((i, axis) => (gone.includes(axis) ? 0 : i)).join())]!.push(entry(x!, place));
  }
  const values = Float64Array.from(groups, (group) => REDUCE[made.opType]!(group));
  return { dims: intAttribute(made, 'keepdims', 1) ? kept : kept.filter((_, axis) => !gone.includes(axis)), values };
}

/** The k largest of each row, with their columns; of equals, the one further left. */
function largest([x, count]: readonly Tensor[]): Tensor[] {
  const [rows, columns] = x!.dims as [number, number];
  const k = count!.values[0]!;
  const chosen = Array.from({ length: rows }, (_, row) => {
    const own = [...x!.values.subarray(row * columns, (row + 1) * columns)].entries();
    return [...own].sort(([i, a], [j, b]) => b - a || i - j).slice(0, k);
  }).flat();
  const tensor = (which: 0 | 1) => ({ dims: [rows, k], values: Float64Array.from(chosen, (pair) => pair[which]) });
  return [tensor(1), tensor(0)];
}

function scattered(made: NodeProto, [data, indices, updates]: readonly Tensor[]): Tensor {
  const adds = made.attribute.some(({ name }) => name === 'reduction');
  const [columns, width] = [data!.dims[1]!, indices!.dims[1]!];
  const values = data!.values.slice();
  for (const [k, column] of indices!.values.entries()) {
    const at = Math.floor(k / width) * columns + column;
    values[at] = (adds ? values[at]! : 0) + updates!.values[k]!;
  }
  return { dims: data!.dims, values };
}

/** What a node makes, in float64. */
function evaluated(made: NodeProto, operands: readonly Tensor[]): Tensor[] {
  const [a, b] = operands as [Tensor, Tensor];
  if (made.opType in ENTRYWISE) return [mapped(operands, ENTRYWISE[made.opType]!)];
  if (made.opType in REDUCE) return [reduced(made, operands)];
  switch (made.opType) {
    case 'MatMul':
    case 'FusedMatMul':
      return [product(a, b, intAttribute(made, 'transA', 0) === 1, intAttribute(made, 'transB', 0) === 1)];
    case 'TopK':
      return largest(operands);
    case 'ScatterElements':
      return [scattered(made, operands)];
    case 'GatherElements':
      return [
        {
          dims: b.dims,
          values: b.values.map((column, k) => a.values[Math.floor(k / b.dims[1]!) * a.dims[1]! + column]!),
        },
      ];
    case 'Shape':
      return [{ dims: [a.dims.length], values: Float64Array.from(a.dims) }];
    case 'ConstantOfShape':
      return [mapped([], () => 0, [...a.values])];
    case 'Reshape':
      return [{ dims: [...b.values], values: a.values }];
    case 'Transpose': {
      const [rows, columns] = a.dims as [number, number];
      const values = a.values.map((_, k) => a.values[(k % rows) * columns + Math.floor(k / rows)]!);
      return [{ dims: [columns, rows], values }];
    }
    case 'Expand':
      return [mapped([a], (x) => x!, [...b.values])];
    default:
      throw new Error(`${made.opType} is not evaluated here`);
  }
}

/** Values of a graph entry by entry in float64, as plainly as possible: a check on other implementations. */
export function slowValues(g: GraphBuilder, inputs: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const values = new Map(inputs);
  for (const { name, dims, floatData, int64Data } of g.initializers) {
    const data = floatData.length > 0 ? floatData : int64Data.map(Number);
    values.set(
      name,
      dims.length === 0 ? scalar(data[0]!) : { dims: dims.map(Number), values: Float64Array.from(data) },
    );
  }
  for (const made of g.nodes) {
    const results = evaluated(
      made,
      made.input.map((name) => values.get(name)!),
    );
    for (const [i, name] of made.output.entries()) values.set(name, results[i]!);
  }
  return values;
}

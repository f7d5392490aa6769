import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type Attribute,
  type Dim,
  type DType,
  dtypeBytes,
  dtypeCode,
  type ExternalData,
  externalTensor,
  namesUsed,
  node,
  valueInfo,
} from './messages.js';
import {
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  OperatorSetIdProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
  TensorProtoSchema,
  type ValueInfoProto,
} from './onnx_pb.js';

/** Opset of the standard operators (Attention and RotaryEmbedding came with 23). */
export const OPSET = 23;
/** The opset for graphs that access bits: it introduced BitCast. */
export const OPSET_OF_BITS = 26;
/** IR version of opset 23; ONNX Runtime accepts later operators with it. */
const IR_VERSION = 11n;
/** ONNX Runtime's own operators. */
export const MICROSOFT = 'com.microsoft';

declare const valueBrand: unique symbol;
/** A tensor of the graph, by name. */
export type Value = string & { readonly [valueBrand]: true };

/**
 * Gradients with respect to `inputs`, given the gradient with respect to the value; in the inputs' shapes, or broadcast
 * ones.
 */
export interface Derivative {
  readonly inputs: readonly Value[];
  of(g: GraphBuilder, gradient: Value): readonly Value[];
}

export interface OpOptions {
  readonly domain?: string;
}

/**
 * Builds an ONNX graph node by node; `encode` returns the bytes of the .onnx file. Values are named as they are
 * created, so a graph reads like the formula it computes. A builder made by `body` builds the subgraph of a Loop and
 * may use every value of the enclosing graph.
 */
export class GraphBuilder {
  /** The graph so far, for code that analyses it (shapes.ts, gradient.ts). */
  readonly nodes: NodeProto[] = [];
  readonly inputs: ValueInfoProto[] = [];
  readonly initializers: TensorProto[] = [];
  /** Values with a gradient other than that of the operator that made them. */
  readonly derivatives = new Map<Value, Derivative>();
  private readonly outputs: ValueInfoProto[] = [];
  private readonly constants = new Map<string, Value>();
  private counter = 0;

  constructor(
    readonly name: string,
    private readonly parent?: GraphBuilder,
    private readonly opset = OPSET,
  ) {}

  /** A builder for the subgraph of a Loop. */
  body(name: string): GraphBuilder {
    return new GraphBuilder(this.fresh(name), this);
  }

  input(name: string, dtype: DType, shape: readonly Dim[]): Value {
    const value = (this.parent ? `${this.name}/${name}` : name) as Value;
    this.inputs.push(valueInfo(value, dtype, shape));
    return value;
  }

  /** Declares `value` as the graph's output `name`. */
  output(name: string, value: Value, dtype: DType, shape: readonly Dim[]): void {
    const unique = (this.parent ? `${this.name}/${name}` : name) as Value;
    this.nodes.push(node('Identity', [value], [unique], {}, ''));
    this.outputs.push(valueInfo(unique, dtype, shape));
  }

  /** An initializer whose bytes stay in an external file. */
  external(name: string, dtype: DType, dims: readonly number[], data: ExternalData): Value {
    const expected = dims.reduce((product, dim) => product * dim, dtypeBytes(dtype));
    if (data.length !== expected) {
      throw new Error(`initializer ${name}: ${data.length} bytes for ${dtype}[${dims.join(', ')}]`);
    }
    this.initializers.push(externalTensor(name, dtype, dims, data));
    return name as Value;
  }

  /** A float32 initializer with inline values; for small tables (RoPE), not for weights. */
  table(name: string, dims: readonly number[], values: Float32Array): Value {
    const rawData = new Uint8Array(values.buffer, values.byteOffset, values.byteLength).slice();
    this.initializers.push(
      create(TensorProtoSchema, { name, dataType: dtypeCode('float32'), dims: dims.map(BigInt), rawData }),
    );
    return name as Value;
  }

  /** A scalar float32 constant; equal ones are shared. */
  scalar(value: number): Value {
    return this.constant(`f32/${value}`, () =>
      create(TensorProtoSchema, { dataType: dtypeCode('float32'), dims: [], floatData: [value] }),
    );
  }

  /** A one-dimensional int64 constant (shapes, axes, slice bounds); equal ones are shared. */
  ints(...values: number[]): Value {
    return this.constant(`i64/${values.join(',')}`, () =>
      create(TensorProtoSchema, {
        dataType: dtypeCode('int64'),
        dims: [BigInt(values.length)],
        int64Data: values.map(BigInt),
      }),
    );
  }

  /** A scalar int64 constant; equal ones are shared. */
  int(value: number): Value {
    return this.constant(`i64scalar/${value}`, () =>
      create(TensorProtoSchema, { dataType: dtypeCode('int64'), dims: [], int64Data: [BigInt(value)] }),
    );
  }

  /** Adds a node with one output. */
  op(
    type: string,
    inputs: readonly (Value | '')[],
    attributes: Record<string, Attribute> = {},
    o: OpOptions = {},
  ): Value {
    return this.ops(type, inputs, 1, attributes, o)[0]!;
  }

  /** Adds a node with `count` outputs. An empty input stands for an omitted optional one. */
  ops(
    type: string,
    inputs: readonly (Value | '')[],
    count: number,
    attributes: Record<string, Attribute> = {},
    { domain = '' }: OpOptions = {},
  ): Value[] {
    const outputs = Array.from({ length: count }, () => this.fresh(type) as Value);
    this.nodes.push(node(type, inputs, outputs, attributes, domain));
    return outputs;
  }

  add(a: Value, b: Value): Value {
    return this.op('Add', [a, b]);
  }

  sub(a: Value, b: Value): Value {
    return this.op('Sub', [a, b]);
  }

  mul(a: Value, b: Value): Value {
    return this.op('Mul', [a, b]);
  }

  div(a: Value, b: Value): Value {
    return this.op('Div', [a, b]);
  }

  /** Matrix product (of the last two dimensions), with either operand optionally transposed. */
  matmul(a: Value, b: Value, { transA = false, transB = false } = {}): Value {
    if (!transA && !transB) return this.op('MatMul', [a, b]);
    return this.op('FusedMatMul', [a, b], { transA: Number(transA), transB: Number(transB) }, { domain: MICROSOFT });
  }

  cast(value: Value, to: DType): Value {
    return this.op('Cast', [value], { to: dtypeCode(to) });
  }

  /** The bits of float32 values converted to bfloat16, as uint16: ONNX Runtime's JavaScript API has no bfloat16. */
  bfloat16Bits(value: Value): Value {
    if (this.opset < OPSET_OF_BITS) throw new Error(`opset ${this.opset} has no BitCast`);
    return this.op('BitCast', [this.cast(value, 'bfloat16')], { to: dtypeCode('uint16') });
  }

  reshape(value: Value, ...shape: number[]): Value {
    return this.op('Reshape', [value, this.ints(...shape)]);
  }

  /** Rows of the first dimension at int64 `indices`. */
  gather(value: Value, indices: Value, axis = 0): Value {
    return this.op('Gather', [value, indices], { axis });
  }

  /** Entries [from, to) along an axis. */
  slice(value: Value, from: number, to: number, axis: number): Value {
    return this.op('Slice', [value, this.ints(from), this.ints(to), this.ints(axis)]);
  }

  concat(values: readonly Value[], axis: number): Value {
    return values.length === 1 ? values[0]! : this.op('Concat', values, { axis });
  }

  reduceSum(value: Value, axes: readonly number[], keepdims = false): Value {
    return this.op('ReduceSum', [value, this.ints(...axes)], { keepdims: Number(keepdims) });
  }

  reduceMax(value: Value, axes: readonly number[], keepdims = false): Value {
    return this.op('ReduceMax', [value, this.ints(...axes)], { keepdims: Number(keepdims) });
  }

  /** Σ value² over `axes`. */
  reduceSumSquare(value: Value, axes: readonly number[], keepdims = false): Value {
    return this.op('ReduceSumSquare', [value, this.ints(...axes)], { keepdims: Number(keepdims) });
  }

  /** 1 where value > 0, else 0, as float32. */
  positive(value: Value): Value {
    return this.cast(this.op('Greater', [value, this.scalar(0)]), 'float32');
  }

  relu(value: Value): Value {
    return this.op('Relu', [value]);
  }

  /** The same value, treated as constant by `gradients` (gradient.ts). */
  stopGradient(value: Value): Value {
    return this.withDerivative(value, { inputs: [], of: () => [] });
  }

  /** The same value with a custom derivative, such as that of a straight-through estimator. */
  withDerivative(value: Value, derivative: Derivative): Value {
    const same = this.op('Identity', [value]);
    this.derivatives.set(same, derivative);
    return same;
  }

  /** The bytes of the .onnx file. */
  encode(): Uint8Array {
    const model = create(ModelProtoSchema, {
      irVersion: IR_VERSION,
      producerName: 'sae-pipe',
      opsetImport: [
        create(OperatorSetIdProtoSchema, { domain: '', version: BigInt(this.opset) }),
        create(OperatorSetIdProtoSchema, { domain: MICROSOFT, version: 1n }),
      ],
      graph: this.graph(),
    });
    return toBinary(ModelProtoSchema, model);
  }

  /**
   * The graph as a message, also used as a Loop's body. Nodes and initializers that no output needs are dropped: a
   * graph built for a whole model is cut after its deepest requested output.
   */
  graph(): GraphProto {
    const needed = new Set(this.outputs.map((output) => output.name));
    const kept: NodeProto[] = [];
    for (const candidate of [...this.nodes].reverse()) {
      if (!candidate.output.some((output) => needed.has(output))) continue;
      kept.push(candidate);
      for (const name of namesUsed(candidate)) needed.add(name);
    }
    return create(GraphProtoSchema, {
      name: this.name,
      node: kept.reverse(),
      input: this.parent ? this.inputs : this.inputs.filter(({ name }) => needed.has(name)),
      output: this.outputs,
      initializer: this.initializers.filter(({ name }) => needed.has(name)),
    });
  }

  private constant(key: string, make: () => TensorProto): Value {
    let value = this.constants.get(key);
    if (!value) {
      value = this.fresh('const') as Value;
      const tensor = make();
      tensor.name = value;
      this.initializers.push(tensor);
      this.constants.set(key, value);
    }
    return value;
  }

  private fresh(stem: string): string {
    const prefix = this.parent ? `${this.name}/` : '';
    return `${prefix}${stem}_${this.counter++}`;
  }
}

/** Size of a graph's weights, and their memory once a session is open. */
export interface WeightMemory {
  /** Entries of all weights used by the graph. */
  readonly parameters: number;
  /** Bytes in memory. */
  readonly bytes: number;
}

/**
 * Memory of a graph's external weights. ONNX Runtime folds the Cast of a weight when the session opens: weights cast to
 * float32 take 4 bytes per entry, and weights used as stored (such as a gathered embedding) their stored size.
 *
 * @param model encoded by GraphBuilder
 */
export function weightMemory(model: Uint8Array): WeightMemory {
  const graph = fromBinary(ModelProtoSchema, model).graph;
  let [parameters, bytes] = [0, 0];
  for (const weight of graph?.initializer ?? []) {
    if (weight.dataLocation !== TensorProto_DataLocation.EXTERNAL) continue;
    const entries = weight.dims.reduce((product, dim) => product * Number(dim), 1);
    const users = graph!.node.filter(({ input }) => input.includes(weight.name));
    const folded = users.some(({ opType }) => opType === 'Cast');
    const stored = users.some(({ opType }) => opType !== 'Cast');
    parameters += entries;
    bytes += entries * ((folded ? 4 : 0) + (stored ? storedBytes(weight) : 0));
  }
  return { parameters, bytes };
}

function storedBytes({ dataType }: TensorProto): number {
  return dataType === TensorProto_DataType.FLOAT ? 4 : 2;
}

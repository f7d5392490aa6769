import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { node } from './messages.js';
import { type GraphProto, GraphProtoSchema, ModelProtoSchema, type NodeProto } from './onnx_pb.js';
import { intAttribute } from './shapes.js';

/**
 * A graph as ONNX Runtime's WebGPU provider computes it. It has no kernel for a product with a transposed matrix, which
 * would run on the CPU; and where such a product in a Loop reads a weight that another operator has on the GPU (an
 * embedding that is the unembedding, too), the product is given what is not the weight. So matrices are transposed by
 * an operator, which ONNX Runtime folds for weights when the session opens.
 *
 * @param model as encoded by GraphBuilder
 */
export function forWebGpu(model: Uint8Array): Uint8Array {
  const message = fromBinary(ModelProtoSchema, model);
  if (!message.graph) return model;
  return toBinary(ModelProtoSchema, { ...message, graph: new Rewriter(message.graph).graph() });
}

/** Rewrites the products of a graph and of the bodies of its Loops. */
class Rewriter {
  /** Ranks of what is known without inference: initializers, inputs, and what has their shape. */
  private readonly ranks = new Map<string, number>();
  /** Transposes of values of the outermost graph, by value; each stands right after what makes the value. */
  private readonly transposed = new Map<string, NodeProto>();

  constructor(private readonly outermost: GraphProto) {
    this.readRanks(outermost);
  }

  graph(): GraphProto {
    const nodes = this.outermost.node.map((one) => this.rewritten(one));
    const made = new Set(this.outermost.node.flatMap(({ output }) => output));
    const first = [...this.transposed].filter(([value]) => !made.has(value)).map(([, transpose]) => transpose);
    const after = (one: NodeProto) => one.output.flatMap((value) => this.transposed.get(value) ?? []);
    return create(GraphProtoSchema, {
      ...this.outermost,
      node: [...first, ...nodes.flatMap((one) => [one, ...after(one)])],
    });
  }

  private readRanks({ initializer, input, node: nodes }: GraphProto): void {
    for (const { name, dims } of initializer) this.ranks.set(name, dims.length);
    for (const { name, type } of input) {
      if (type?.value.case === 'tensorType') this.ranks.set(name, type.value.value.shape?.dim.length ?? 0);
    }
    for (const { opType, input: from, output } of nodes) {
      const rank = opType === 'Cast' || opType === 'Identity' ? this.ranks.get(from[0]!) : undefined;
      if (rank !== undefined) this.ranks.set(output[0]!, rank);
    }
  }

  private rewritten(one: NodeProto): NodeProto {
    const attribute = one.attribute.map((given) =>
      given.g ? { ...given, g: { ...given.g, node: given.g.node.map((inner) => this.rewritten(inner)) } } : given,
    );
    if (one.opType !== 'FusedMatMul') return { ...one, attribute };
    const sides = one.input.map((value, i) => {
      if (intAttribute(one, i === 0 ? 'transA' : 'transB', 0) === 0) return value;
      // Of a value of a Loop, or of a rank that is not known, nothing is transposed; the product stays as it is.
      return this.ranks.get(value) === 2 ? this.transpose(value) : undefined;
    });
    if (sides.includes(undefined)) return one;
    return node('MatMul', sides as string[], one.output, {}, '');
  }

  private transpose(value: string): string {
    const name = `${value}/transposed`;
    if (!this.transposed.has(value))
      this.transposed.set(value, node('Transpose', [value], [name], { perm: [1, 0] }, ''));
    return name;
  }
}

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { node } from './messages.js';
import { type GraphProto, GraphProtoSchema, ModelProtoSchema, type NodeProto } from './onnx_pb.js';
import { intAttribute } from './shapes.js';

/**
 * Adapts a graph for ONNX Runtime's WebGPU provider. It has no kernel for products with a transposed matrix, which
 * would run on the CPU; and if such a product in a Loop reads a weight that another operator has on the GPU (an
 * embedding tied to the unembedding), it reads wrong data. So matrices are transposed by an explicit operator, which
 * ONNX Runtime folds for weights when the session opens.
 *
 * @param model encoded by GraphBuilder
 */
export function forWebGpu(model: Uint8Array): Uint8Array {
  const message = fromBinary(ModelProtoSchema, model);
  if (!message.graph) return model;
  return toBinary(ModelProtoSchema, { ...message, graph: new Rewriter(message.graph).graph() });
}

/** Rewrites the products of a graph and of the bodies of its Loops. */
class Rewriter {
  /** Ranks known without inference: initializers, inputs, and values of the same shape. */
  private readonly ranks = new Map<string, number>();
  /** Transposed values of the outermost graph; each Transpose directly follows the node that makes the value. */
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
      // A Loop's value, or one of unknown rank, is not transposed; the product is left unchanged.
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

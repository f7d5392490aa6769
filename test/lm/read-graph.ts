import { fromBinary } from '@bufbuild/protobuf';
import { type AttributeProto, ModelProtoSchema, type NodeProto } from '../../src/onnx/onnx_pb.js';

/** An initializer whose bytes lie in a file. */
export interface ExternalTensor {
  readonly dims: readonly number[];
  readonly dataType: number;
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** What tests check in an .onnx file. */
export function readGraph(bytes: Uint8Array) {
  const graph = fromBinary(ModelProtoSchema, bytes).graph!;
  const external = new Map<string, ExternalTensor>();
  for (const { name, dims, dataType, externalData } of graph.initializer) {
    if (externalData.length === 0) continue;
    const entry = (key: string) => externalData.find((e) => e.key === key)!.value;
    external.set(name, {
      dims: dims.map(Number),
      dataType,
      path: `/${entry('location')}`,
      offset: Number(entry('offset')),
      length: Number(entry('length')),
    });
  }
  return {
    external,
    nodes: (type: string): NodeProto[] => graph.node.filter(({ opType }) => opType === type),
  };
}

/** An attribute's number, or undefined where the node has none of that name. */
export function attribute(node: NodeProto, name: string): number | undefined {
  const found: AttributeProto | undefined = node.attribute.find((a) => a.name === name);
  if (!found) return undefined;
  return found.i === 0n ? found.f : Number(found.i);
}

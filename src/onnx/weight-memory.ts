import { fromBinary } from '@bufbuild/protobuf';
import { ModelProtoSchema, type TensorProto, TensorProto_DataLocation, TensorProto_DataType } from './onnx_pb.js';

/** What a graph's weights are, and what they take once a session is open. */
export interface WeightMemory {
  /** Entries of all weights that the graph uses. */
  readonly parameters: number;
  /** Bytes in memory. */
  readonly bytes: number;
}

/**
 * Memory of a graph's external weights. ONNX Runtime folds a Cast of a weight when the session opens: what is cast to
 * float32 is held so, 4 bytes an entry, and what is used as stored (an embedding that is gathered from) as it is.
 *
 * @param model as encoded by GraphBuilder
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

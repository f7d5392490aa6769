import { parse, relative, sep } from 'node:path';
import { create } from '@bufbuild/protobuf';
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  type NodeProto,
  NodeProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './onnx_pb.js';

/** A dimension: a number, or a name for one known only at run time. */
export type Dim = number | string;

/** Value of a node's attribute; integers become INT, other numbers are given as `{ float }`. */
export type Attribute = number | bigint | string | readonly number[] | { float: number } | { graph(): GraphProto };

/** Location of an initializer's bytes: a range of a file, given by its absolute path with symbolic links resolved. */
export interface ExternalData {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** An initializer whose bytes stay in an external file. */
export function externalTensor(name: string, dtype: DType, dims: readonly number[], data: ExternalData): TensorProto {
  const entry = (key: string, value: string) => create(StringStringEntryProtoSchema, { key, value });
  return create(TensorProtoSchema, {
    name,
    dataType: dtypeCode(dtype),
    dims: dims.map(BigInt),
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    // The session resolves locations relative to the root directory (see session.ts).
    externalData: [
      entry('location', relative(parse(data.path).root, data.path).replaceAll(sep, '/')),
      entry('offset', String(data.offset)),
      entry('length', String(data.length)),
    ],
  });
}

/** Inputs of a node, and for a Loop everything its body uses of the enclosing graph. */
export function namesUsed(candidate: NodeProto): string[] {
  const inner = candidate.attribute.flatMap(
    ({ g }) => g?.node.flatMap(namesUsed).concat(g.output.map((o) => o.name)) ?? [],
  );
  return candidate.input.concat(inner);
}

/** Declares a graph's input or output. */
export function valueInfo(name: string, dtype: DType, shape: readonly Dim[]): ValueInfoProto {
  const dim = shape.map((d) =>
    create(TensorShapeProto_DimensionSchema, {
      value: typeof d === 'number' ? { case: 'dimValue', value: BigInt(d) } : { case: 'dimParam', value: d },
    }),
  );
  const tensor = create(TypeProto_TensorSchema, {
    elemType: dtypeCode(dtype),
    shape: create(TensorShapeProtoSchema, { dim }),
  });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: 'tensorType', value: tensor } }),
  });
}

/** A node; it is named after its first output. */
export function node(
  opType: string,
  input: readonly string[],
  output: readonly string[],
  attributes: Record<string, Attribute>,
  domain: string,
): NodeProto {
  return create(NodeProtoSchema, {
    opType,
    domain,
    name: output[0]!,
    input: [...input],
    output: [...output],
    attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
  });
}

function attribute(name: string, value: Attribute): AttributeProto {
  const Type = AttributeProto_AttributeType;
  if (typeof value === 'string') {
    return create(AttributeProtoSchema, { name, type: Type.STRING, s: new TextEncoder().encode(value) });
  }
  if (typeof value === 'number' || typeof value === 'bigint') {
    return create(AttributeProtoSchema, { name, type: Type.INT, i: BigInt(value) });
  }
  if ('graph' in value) return create(AttributeProtoSchema, { name, type: Type.GRAPH, g: value.graph() });
  if ('float' in value) {
    return create(AttributeProtoSchema, { name, type: Type.FLOAT, f: value.float });
  }
  return create(AttributeProtoSchema, { name, type: Type.INTS, ints: value.map(BigInt) });
}

/** Element types used in our graphs, by ONNX Runtime's JavaScript names (bfloat16 is passed as uint16 bits). */
export type DType = 'float32' | 'float16' | 'bfloat16' | 'int64' | 'int32' | 'int8' | 'uint8' | 'uint16' | 'bool';

const CODES: Record<DType, TensorProto_DataType> = {
  float32: TensorProto_DataType.FLOAT,
  float16: TensorProto_DataType.FLOAT16,
  bfloat16: TensorProto_DataType.BFLOAT16,
  int64: TensorProto_DataType.INT64,
  int32: TensorProto_DataType.INT32,
  int8: TensorProto_DataType.INT8,
  uint8: TensorProto_DataType.UINT8,
  uint16: TensorProto_DataType.UINT16,
  bool: TensorProto_DataType.BOOL,
};

/** Code of an element type in TensorProto.DataType. */
export function dtypeCode(dtype: DType): TensorProto_DataType {
  return CODES[dtype];
}

const BYTES: Record<DType, number> = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int8: 1,
  uint8: 1,
  uint16: 2,
  bool: 1,
};

/** Bytes of one element. */
export function dtypeBytes(dtype: DType): number {
  return BYTES[dtype];
}

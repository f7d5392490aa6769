import { TensorProto_DataType } from './onnx_pb.js';

/** Element types used in our graphs, by ONNX Runtime's JavaScript names (bfloat16 travels as uint16 bits outside). */
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

import type { SafetensorsDType, TensorLocation } from '../safetensors/header.js';
import type { DType } from './dtype.js';
import type { GraphBuilder, Value } from './graph.js';

/** Element types that weights may have on disk, by their names in a graph. */
const WEIGHT_DTYPES: Partial<Record<SafetensorsDType, DType>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };

/** May a weight be stored so? What is not is refused when a checkpoint or an SAE is opened. */
export function isWeightDType(dtype: SafetensorsDType): boolean {
  return WEIGHT_DTYPES[dtype] !== undefined;
}

/** A tensor of a safetensors file as an initializer, in the element type it is stored in. */
export function storedWeight(g: GraphBuilder, name: string, location: TensorLocation): Value {
  const dtype = WEIGHT_DTYPES[location.dtype];
  if (!dtype) throw new Error(`weight ${name} is ${location.dtype}`);
  return g.external(name, dtype, location.shape, location);
}

/** A stored weight as float32; ONNX Runtime folds the cast when the session opens. */
export function asFloat32(g: GraphBuilder, stored: Value, location: TensorLocation): Value {
  return location.dtype === 'F32' ? stored : g.cast(stored, 'float32');
}

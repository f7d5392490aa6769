import type { SafetensorsDType, TensorLocation } from '../safetensors/file.js';
import type { GraphBuilder, Value } from './graph.js';
import type { DType } from './messages.js';

/** Element types that weights may have on disk, by their names in a graph. */
const WEIGHT_DTYPES: Partial<Record<SafetensorsDType, DType>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };

/** May a weight have this element type? Others are refused when a checkpoint or an SAE is opened. */
export function isWeightDType(dtype: SafetensorsDType): boolean {
  return WEIGHT_DTYPES[dtype] !== undefined;
}

/** Element type of a stored weight, by its name in a graph. */
export function weightDType({ dtype }: TensorLocation): DType {
  const name = WEIGHT_DTYPES[dtype];
  if (!name) throw new Error(`a weight is ${dtype}`);
  return name;
}

/** A tensor of a safetensors file as an initializer, in the element type it is stored in. */
export function storedWeight(g: GraphBuilder, name: string, location: TensorLocation): Value {
  return g.external(name, weightDType(location), location.shape, location);
}

/** A stored weight converted to another element type; ONNX Runtime folds the cast when the session opens. */
export function weightAs(g: GraphBuilder, dtype: DType, stored: Value, location: TensorLocation): Value {
  return weightDType(location) === dtype ? stored : g.cast(stored, dtype);
}

/** A stored weight as float32. */
export function asFloat32(g: GraphBuilder, stored: Value, location: TensorLocation): Value {
  return weightAs(g, 'float32', stored, location);
}

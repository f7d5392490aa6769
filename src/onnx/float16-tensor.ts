import type { Tensor } from 'onnxruntime-node';
import { onnxRuntime } from './session.js';

/**
 * A maker of float16 tensors from bits, [dims].
 *
 * Where JavaScript has a Float16Array (Node 24 and later), ONNX Runtime's Tensor wraps the bits in one, and its native
 * part then finds no data; the bits themselves are what it reads everywhere.
 */
export async function float16Tensors(): Promise<(bits: Uint16Array, dims: readonly number[]) => Tensor> {
  const { Tensor } = await onnxRuntime();
  return (bits, dims) => {
    const tensor = new Tensor('float16', bits, dims);
    if (!(tensor.data instanceof Uint16Array)) Object.defineProperty(tensor, 'data', { value: bits });
    return tensor;
  };
}

import { firstNotFinite } from '../activations/finite.js';
import { Refusal } from '../config/refusal.js';
import type { TensorLocation } from '../safetensors/header.js';
import { readFloats } from '../safetensors/read.js';
import type { SaeFiles } from './saelens.js';

/** Bytes that are read and looked at together. */
const PIECE = 2 ** 26;

/**
 * Looks at every weight of an SAE, in pieces: graphs read them from the file by themselves, and ReLU may hide a NaN.
 *
 * @throws Refusal naming the first that is NaN or infinite
 */
export async function checkFiniteWeights({ tensors }: SaeFiles): Promise<void> {
  for (const [name, location] of Object.entries(tensors)) {
    for (let done = 0; done < location.length; done += PIECE) {
      const length = Math.min(PIECE, location.length - done);
      checkFinite(await readFloats({ ...location, offset: location.offset + done, length }), name, location);
    }
  }
}

/** @throws Refusal where a value is NaN or infinite */
export function checkFinite(values: Float32Array, name: string, { path }: TensorLocation): void {
  const at = firstNotFinite(values, 'float32');
  if (at < 0) return;
  throw new Refusal(`${path} holds ${values[at]} in ${name}.`, 'The SAE is damaged: take another, or train it again.');
}

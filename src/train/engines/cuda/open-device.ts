import { Refusal } from '../../../config/refusal.js';
import type { CudaDevice } from './device.js';

/**
 * Opens an NVIDIA GPU.
 *
 * @param ordinal N of cuda:N
 * @throws Refusal where there is none
 */
export async function openCudaDevice(ordinal: number): Promise<CudaDevice> {
  throw new Refusal(`cuda:${ordinal} cannot be opened: this version has no driver for it.`, 'Use --engine reference.');
}

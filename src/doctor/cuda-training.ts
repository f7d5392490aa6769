import type { CudaTrial } from '../train/engines/cuda/try-device.js';
import { probe } from './providers.js';

/** Whether `train --engine cuda` can use the GPU of a device's name; tried in a process of its own. */
export async function cudaTraining(device: string): Promise<CudaTrial> {
  const ordinal = /^cuda:(\d+)$/.exec(device)?.[1] ?? '0';
  const { answer, died } = await probe('training', ordinal);
  if (died !== undefined) return { found: [], missing: [], reason: died };
  const trial = answer as CudaTrial & { error?: string };
  return trial.error === undefined ? trial : { found: [], missing: [], reason: trial.error };
}

/** The trial in a line or two, for people. */
export function cudaTrainingLines({ gpu, found, missing, reason }: CudaTrial): string[] {
  if (gpu) {
    const { driver, compiler, capability } = gpu.versions;
    return [`ready: ${gpu.name}, compute capability ${capability}, driver for CUDA ${driver}, NVRTC ${compiler}`];
  }
  const obstacle = missing.length > 0 ? `not found: ${missing.join(', ')}` : (reason ?? 'no answer').replace(/\.$/, '');
  const there = found.length > 0 ? [`found: ${found.join(', ')}`] : [];
  return [`no: ${obstacle}`, ...there];
}

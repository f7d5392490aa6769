import type { Engine, EngineSettings, TrainerState } from '../src/train/engines/engine.js';
import { openEngine } from '../src/train/engines/open.js';

/** How the CUDA engine computes its encoder product. */
export type CudaPrecision = 'float32' | 'tf32' | 'bfloat16';

/** The flags of `train` that ask for it. */
export const CUDA_FLAGS = ['--engine', 'cuda', '--experimental'];

/** The CUDA engine on `cuda` or `cuda:N`; on `shim`, the CPU emulation of its tests, for rehearsals. */
export async function openCuda(
  settings: Omit<EngineSettings, 'device'>,
  start: TrainerState,
  precision: CudaPrecision,
  device = 'cuda',
): Promise<Engine> {
  const all: EngineSettings = { ...settings, device, precision };
  if (device === 'shim') {
    const { openOnCpu } = await import('../test/train/engines/cuda/open-on-cpu.js');
    return openOnCpu(all, start);
  }
  return openEngine('cuda', all, start);
}

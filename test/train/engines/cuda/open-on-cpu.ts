import { type CudaOverrides, openCudaEngine } from '../../../../src/train/engines/cuda/cuda-engine.js';
import { WARP } from '../../../../src/train/engines/cuda/plan.js';
import type { Engine, EngineSettings, TrainerState } from '../../../../src/train/engines/engine.js';
import { CpuDevice, type CpuDeviceOptions } from './cpu-device.js';

/** Slices of this many features: small dictionaries have several, the last of which is not full. */
const SLICE = 2 * WARP;

interface OpenOptions extends CpuDeviceOptions, CudaOverrides {
  /** Kernels that do nothing, for what is asked of the device alone: nothing is compiled. */
  readonly idle?: boolean;
}

/** The CUDA engine on the CPU, its product in float32 unless the settings say otherwise; no slice is dense unless asked. */
export async function openOnCpu(
  settings: EngineSettings,
  start: TrainerState,
  steps = 0,
  { form, denseShare = 1, partEntries, settleEvery, idle = false, ...options }: OpenOptions = {},
): Promise<Engine & { readonly device: CpuDevice }> {
  const device = await CpuDevice.open(options);
  if (idle) device.compile = async () => ({ launch: () => {}, unload: () => {} });
  const overrides = {
    slice: 4 * settings.batch * SLICE,
    // Three features per piece of the state, so that pieces have a remainder.
    piece: 4 * settings.dIn * 3,
    ...{ form, denseShare },
    ...(partEntries && { partEntries }),
    ...(settleEvery && { settleEvery }),
  };
  const engine = await openCudaEngine({ precision: 'float32', ...settings }, start, steps, device, overrides);
  return Object.assign(Object.create(engine) as Engine, { device });
}

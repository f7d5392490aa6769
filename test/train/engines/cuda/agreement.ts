import assert from 'node:assert/strict';
import type { CudaOverrides } from '../../../../src/train/engines/cuda/cuda-engine.js';
import type { EngineSettings, StepMetrics, TrainerState } from '../../../../src/train/engines/engine.js';
import { openReferenceEngine } from '../../../../src/train/engines/reference/engine.js';
import { batches, stateDifference, stepBoth } from '../problem.js';
import type { CpuDeviceOptions } from './cpu-device.js';
import { openOnCpu } from './open-on-cpu.js';

/** What steps are given next to a batch. */
export type StepRates = Readonly<{ lr: number; l1: number }>;

/** Metrics and state of steps [from, to) on the shim, on batches that are the same for each of them. */
export async function cudaSteps(
  settings: EngineSettings,
  start: TrainerState,
  [from, to]: readonly [number, number],
  rates: StepRates,
  options: CpuDeviceOptions & CudaOverrides = {},
) {
  const engine = await openOnCpu(settings, start, from, options);
  const next = batches(settings);
  const all = Array.from({ length: to }, () => next());
  const metrics: StepMetrics[] = [];
  for (const x of all.slice(from)) metrics.push(await engine.step({ x }, rates));
  const state = await engine.state();
  const { launches } = engine.device;
  await engine.close();
  return { metrics, state, launches };
}

/** Asserts that steps on the shim end, within `bound`, in the state of the reference engine. */
export async function agreesWithReference(
  settings: EngineSettings,
  start: TrainerState,
  { steps, bound }: { readonly steps: number; readonly bound: number },
  options: CudaOverrides = {},
) {
  const reference = await openReferenceEngine(settings, start);
  const cuda = await openOnCpu(settings, start, 0, options);
  const [x, y] = [batches(settings), batches({ ...settings, dIn: settings.dOut ?? 1 }, 4)];
  await stepBoth(reference, cuda, steps, () => ({ x: x(), ...(settings.dOut && { y: y() }) }));
  const { name, difference } = await stateDifference(cuda, reference);
  assert.ok(difference < bound, `${name}: ${difference}`);
  const state = await cuda.state();
  const { launches } = cuda.device;
  await Promise.all([reference.close(), cuda.close()]);
  return { state, launches };
}

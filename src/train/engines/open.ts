import { totalmem } from 'node:os';
import { Refusal, UsageRefusal } from '../../config/refusal.js';
import { formatBytes } from '../../disk/free-space.js';
import type { Engine, EngineSettings, TrainerState } from './engine.js';
import { openReferenceEngine } from './reference/engine.js';
import { openSparseEngine, planWorkers } from './sparse/engine.js';
import { stateBytes } from './state.js';

export type EngineName = 'reference' | 'sparse';

/** The engine that `--engine` and `--device` mean: sparse on the CPU, the reference engine elsewhere. */
export function chooseEngine(engine: 'auto' | EngineName, device: string | undefined): EngineName {
  const onCpu = (device ?? 'cpu') === 'cpu';
  if (engine === 'sparse' && !onCpu) {
    throw new UsageRefusal(
      `--engine sparse runs on the CPU, not on ${device}.`,
      'Use --device cpu or --engine reference.',
    );
  }
  if (engine !== 'auto') return engine;
  return onCpu ? 'sparse' : 'reference';
}

/** @throws Refusal when a step needs more memory than the machine has */
export function checkMemory(name: EngineName, settings: EngineSettings): void {
  if (name === 'sparse') {
    planWorkers(settings);
    return;
  }
  // The engine keeps two copies of the state, and pre-activations of a batch.
  const memory = 2 * stateBytes(settings) + 4 * settings.batch * settings.dSae;
  if (memory <= totalmem()) return;
  throw new Refusal(
    `--d-sae ${settings.dSae} needs ${formatBytes(memory)} of memory at least, and there are ${formatBytes(totalmem())}.`,
    'Train a smaller dictionary.',
  );
}

/**
 * @param start parameters, or a whole state to go on from, of any engine
 * @param steps steps already done
 */
export function openEngine(
  name: EngineName,
  settings: EngineSettings,
  start: TrainerState,
  steps?: number,
): Promise<Engine> {
  return name === 'sparse' ? openSparseEngine(settings, start, steps) : openReferenceEngine(settings, start, steps);
}

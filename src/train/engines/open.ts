import { totalmem } from 'node:os';
import { Refusal, UsageRefusal } from '../../config/refusal.js';
import { formatBytes } from '../../disk/free-space.js';
import type { TrainedArchitecture } from '../../sae/sae.js';
import type { Engine, EngineSettings, TrainerState } from './engine.js';
import { openReferenceEngine } from './reference/engine.js';
import { openSparseEngine, planWorkers } from './sparse/engine.js';
import { stateBytes } from './state.js';

export type EngineName = 'reference' | 'sparse';

/** The engine that `--engine` and `--device` mean: sparse on the CPU, reference elsewhere and for gated_untied. */
export function chooseEngine(
  engine: 'auto' | EngineName,
  device: string | undefined,
  architecture?: TrainedArchitecture,
): EngineName {
  const onCpu = (device ?? 'cpu') === 'cpu';
  const untied = architecture === 'gated_untied';
  if (engine === 'sparse' && untied) {
    throw new UsageRefusal(
      '--engine sparse has one encoder matrix, and --ablate untied-encoder wants two.',
      'Leave --engine out, or say --engine reference.',
    );
  }
  if (engine === 'sparse' && !onCpu) {
    throw new UsageRefusal(
      `--engine sparse runs on the CPU, not on ${device}.`,
      'Use --device cpu or --engine reference.',
    );
  }
  if (engine !== 'auto') return engine;
  return onCpu && !untied ? 'sparse' : 'reference';
}

/** Bytes that training takes at most: state, batch and all that a step writes. */
export function memoryNeeded(name: EngineName, settings: EngineSettings): number {
  if (name === 'sparse') return planWorkers(settings).bytes;
  // The engine keeps two copies of the state; the graph has gradients and Adam's terms of both matrices, and its
  // arrays of a batch's features, of which ONNX Runtime keeps about so many at a time.
  const { batch, dIn, dSae } = settings;
  return 2 * stateBytes(settings) + 4 * (GRAPH_MATRICES * dIn + GRAPH_FEATURES * batch) * dSae + 4 * 8 * batch * dIn;
}

/** Values [d_in, d_sae], and [batch, d_sae], of the reference engine's graph at a time; bench:soak measures them. */
const GRAPH_MATRICES = 8;
const GRAPH_FEATURES = 20;

/** Worker threads with sessions of their own. */
export function threadsOf(name: EngineName, settings: EngineSettings): number {
  return name === 'sparse' ? planWorkers(settings).workers : 0;
}

/** @throws Refusal with the numbers when that is more than the machine has */
export function checkMemory(name: EngineName, settings: EngineSettings, available = totalmem()): void {
  const needed = memoryNeeded(name, settings);
  if (needed <= available) return;
  const { dIn, dSae, batch } = settings;
  throw new Refusal(
    `--d-sae ${dSae} at d_in ${dIn} and --batch ${batch} needs ${formatBytes(needed)} of memory, and there are ${formatBytes(available)}.`,
    'Train a smaller dictionary, or use a smaller --batch.',
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

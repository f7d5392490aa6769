import type { engines } from '../../config/values.js';
import { formatBytes } from '../../disk/space.js';
import { Refusal, UsageRefusal } from '../../errors/refusal.js';
import { memory } from '../../machine/memory.js';
import { isUnsupported } from '../../sae/architecture.js';
import { trainingOf } from '../../sae/registry.js';
import { hostBytes, lacking } from './cuda/plan.js';
import { type Engine, type EngineSettings, sizesOf, type TrainerState } from './engine.js';
import { openSparseEngine, planWorkers } from './sparse/engine.js';
import { optionsOf, stateBytes } from './state.js';

export type EngineName = Exclude<(typeof engines)[number], 'auto'>;

/** Flags that select an engine. */
export interface EngineChoice {
  readonly engine: 'auto' | EngineName;
  readonly device?: string;
  readonly experimental?: boolean;
  readonly enginePrecision?: EngineSettings['precision'];
}

/** Settings that decide whether an engine can train a run. */
type Trained = Parameters<typeof optionsOf>[0] & Pick<EngineSettings, 'clipGradNorm'>;

/** Why an engine cannot train it; undefined if it can. */
function reasonAgainst(engine: 'sparse' | 'cuda', settings: Trained): string | undefined {
  const form = trainingOf(settings.architecture)[engine](optionsOf(settings));
  if (isUnsupported(form)) return form.unsupported;
  if (settings.skip && engine === 'cuda') return 'it has no skip connection';
  if (settings.clipGradNorm !== undefined && engine === 'cuda') return 'it does not clip gradients';
  return engine === 'cuda' ? lacking(form) : undefined;
}

/**
 * The engine selected by the flags: by default sparse on the CPU if it can train the SAE, otherwise reference, and
 * never cuda.
 *
 * @param settings of the run; absent if any engine can train it
 * @throws UsageRefusal if flags contradict each other, or cuda is requested without --experimental
 */
export function chooseEngine(choice: EngineChoice, settings?: Trained): EngineName {
  const { engine, device, enginePrecision } = choice;
  const onCpu = (device ?? 'cpu') === 'cpu';
  const against = (name: 'sparse' | 'cuda') => settings && reasonAgainst(name, settings);
  if (enginePrecision !== undefined && engine !== 'cuda') {
    throw new UsageRefusal(
      `--engine-precision ${enginePrecision} requires --engine cuda; the other engines compute in float32.`,
      'Omit --engine-precision.',
      'train/precision-of-cuda',
    );
  }
  const reason = engine === 'sparse' || engine === 'cuda' ? against(engine) : undefined;
  if (reason !== undefined) {
    throw new UsageRefusal(
      `--engine ${engine} cannot train this SAE: ${reason}.`,
      'Omit --engine, or use --engine reference.',
      'train/engine-cannot',
    );
  }
  if (engine === 'sparse' && !onCpu) {
    throw new UsageRefusal(
      `--engine sparse runs on the CPU, not on ${device}.`,
      'Use --device cpu or --engine reference.',
      'train/engine-device',
    );
  }
  if (engine === 'cuda') checkCuda(choice);
  if (engine !== 'auto') return engine;
  return onCpu && against('sparse') === undefined ? 'sparse' : 'reference';
}

function checkCuda({ device = 'cpu', experimental }: EngineChoice): void {
  if (ordinalOf(device) === undefined) {
    throw new UsageRefusal(
      `--engine cuda runs on an NVIDIA GPU, not on ${device}.`,
      'Add --device cuda, or cuda:N.',
      'train/engine-device',
    );
  }
  if (experimental) return;
  throw new UsageRefusal(
    '--engine cuda has never run on a GPU; its kernels have been tested on a CPU only.',
    'Add --experimental to try it anyway, or omit --engine.',
    'train/experimental',
  );
}

/** N of cuda:N, 0 of cuda; undefined for other devices. */
function ordinalOf(device: string): number | undefined {
  const match = /^cuda(?::(\d+))?$/.exec(device);
  return match ? Number(match[1] ?? 0) : undefined;
}

/**
 * Max host memory of training in bytes: state, batch and everything written by a step; GPU memory is counted
 * separately.
 */
export function memoryNeeded(name: EngineName, settings: EngineSettings): number {
  if (name === 'cuda') return hostBytes(settings);
  if (name === 'sparse') return planWorkers(settings).bytes;
  // The engine keeps two copies of the state; the graph has gradients and Adam's terms for both matrices, and its
  // arrays of a batch's features, of which ONNX Runtime keeps about this many at a time.
  const { batch } = settings;
  const { dIn, dOut, dSae } = sizesOf(settings);
  const width = (dIn + dOut) / 2;
  return (
    2 * stateBytes(settings) + 4 * (GRAPH_MATRICES * width + GRAPH_FEATURES * batch) * dSae + 4 * 8 * batch * width
  );
}

/**
 * Number of arrays [d_in, d_sae] or [d_sae, d_out], half of each, and of [batch, d_sae], that the reference engine's
 * graph holds at a time; measured by bench:soak.
 */
const GRAPH_MATRICES = 8;
const GRAPH_FEATURES = 20;

/** Worker threads with their own sessions. */
export function threadsOf(name: EngineName, settings: EngineSettings): number {
  return name === 'sparse' ? planWorkers(settings).workers : 0;
}

/** @throws Refusal with the numbers if that is more than the machine has */
export function checkMemory(name: EngineName, settings: EngineSettings, available = memory().limit): void {
  const needed = memoryNeeded(name, settings);
  if (needed <= available) return;
  const { dIn, dSae, batch } = settings;
  throw new Refusal(
    `--d-sae ${dSae} at d_in ${dIn} and --batch ${batch} needs ${formatBytes(needed)} of memory, but only ${formatBytes(available)} are available.`,
    'Train a smaller dictionary, or use a smaller --batch.',
    'train/too-large',
  );
}

/**
 * @param start parameters, or a complete state of any engine to continue from
 * @param steps steps already done
 */
export async function openEngine(
  name: EngineName,
  settings: EngineSettings,
  start: TrainerState,
  steps = 0,
): Promise<Engine> {
  if (name === 'sparse') return openSparseEngine(settings, start, steps);
  if (name === 'reference') {
    const { openReferenceEngine } = await import('./reference/engine.js');
    return openReferenceEngine(settings, start, steps);
  }
  // Loaded only here, since it looks for the driver's libraries.
  const { openCudaDevice } = await import('./cuda/gpu.js');
  const { openCudaEngine } = await import('./cuda/cuda-engine.js');
  return openCudaEngine(settings, start, steps, await openCudaDevice(ordinalOf(settings.device ?? 'cuda') ?? 0));
}

import type { ActivationSource, SourceDescription } from '../activations/source.js';
import type { TrainConfig } from '../config/stages.js';
import { type MemoryParts, PROGRAM, THREAD } from '../progress/memory-line.js';
import type { EngineSettings } from './engines/engine.js';
import { type EngineName, memoryNeeded, threadsOf } from './engines/open.js';
import { stateBytes } from './engines/state.js';
import { looksBefore } from './estimates.js';
import { MOST_ENTRIES } from './input-losses.js';

/** Values of the graph of single inputs' losses that exist at a time. */
const LOSS_VALUES = 8;
/** Copies of looked-at rows as float32: as they are, scaled, the chunk under way, and one that is yet to be collected. */
const LOOKED_AT = 4;
/** A batch in the engine, one that is gathered, and one that bfloat16 was widened to. */
const BATCHES = 3;
/** A state on its way to a checkpoint: from the workers, put together, and the one before, yet to be collected. */
const STATES = 3;

/** What of a source decides the memory of training on it. */
export interface MemorySource extends Pick<ActivationSource, 'memory'> {
  readonly about: Pick<SourceDescription, 'meanNorm'>;
}

/** What training holds at most, bytes: the engine reserves all it can ever need, and touches it as it needs it. */
export function trainingMemory(
  config: TrainConfig,
  settings: EngineSettings,
  engine: EngineName,
  source: MemorySource,
): MemoryParts {
  const { dIn, dSae, batch } = settings;
  const { held, pieceRows } = source.memory(config.order);
  const resamples = config.resampleAt.length > 0;
  const looked = resamples || looksBefore(config, source.about) ? LOOKED_AT * 4 * pieceRows * dIn : 0;
  const losses = resamples ? LOSS_VALUES * 4 * Math.min(MOST_ENTRIES, pieceRows * dSae) : 0;
  return {
    engine: memoryNeeded(engine, settings),
    checkpoints: STATES * stateBytes(settings),
    // Resampling has the state that it changes and the SAE as it stands, and one array's parts on their way back.
    resampling: looked + losses + (resamples ? 2 * stateBytes(settings) : 0),
    rows: held + BATCHES * 4 * batch * dIn,
    program: PROGRAM + THREAD * threadsOf(engine, settings),
  };
}

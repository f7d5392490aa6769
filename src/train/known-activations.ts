import type { Batches, SourceDescription } from '../activations/activation-source.js';
import type { NormLimit } from '../activations/manifest.js';
import { recordName } from '../config/flags.js';
import type { TrainConfig } from '../config/stages/train.js';
import type { StopRequest } from '../progress/progress.js';
import type { WrittenRecord } from '../sae/training-record.js';
import { Coordinates } from './coordinates.js';
import { type Estimates, estimate, sampleRows } from './estimates.js';
import { normLimitOf, OrdinaryRows } from './ordinary-rows.js';
import { REMARK_ROWS, remarksOn } from './remarks.js';

/** A run that looks at its activations before the first step. */
export interface Looking {
  readonly config: TrainConfig;
  readonly about: SourceDescription;
  readonly batches: Batches;
  /** Told of what is worth reading afterwards. */
  readonly say: (line: string) => void;
  readonly stop: StopRequest;
}

/** What of a checkpoint is about its activations. */
interface Kept {
  readonly estimates: Estimates;
  readonly leftOut?: number;
}

/**
 * What is known of the activations before the first step, and what leaves rows out of training.
 *
 * @param begun what decides the run's result, as far as that is known without the activations
 * @returns `fixed` is all of it, and `own` says the same as flags
 */
export async function knownOf(looking: Looking, begun: WrittenRecord, kept: Kept | undefined) {
  const { config, about, batches, stop } = looking;
  const { limit, multiple } = kept ? limitKept(begun, about, kept.estimates) : await newLimit(looking);
  // Of a store that was harvested without them, none is left to leave out.
  const ordinary = limit && !about.normLimit ? new OrdinaryRows(limit, about, kept?.leftOut) : undefined;
  const among = ordinary?.looking(batches) ?? batches;
  const described = limit ? { ...about, normLimit: limit } : about;
  const estimates = kept?.estimates ?? {
    ...(await estimate(config, ordinary?.about ?? about, among, stop)),
    ...(ordinary && { medianNorm: limit!.median }),
  };
  const coordinates = estimates.factors && new Coordinates(estimates.factors, about);
  const looked = coordinates?.looking(among) ?? among;
  const fixed: WrittenRecord = { ...begun, [MULTIPLE]: multiple };
  const own: TrainConfig = { ...config, maxActivationNormMultiple: multiple };
  return { estimates, ordinary, described, coordinates, seen: coordinates?.about ?? about, looked, fixed, own };
}

const MULTIPLE = recordName('maxActivationNormMultiple');

/** What decides which rows are too long, and what the run records of it. */
interface Decided {
  readonly limit: NormLimit | undefined;
  /** 0: none is. */
  readonly multiple: number;
}

async function newLimit({ config, about, batches, say, stop }: Looking): Promise<Decided> {
  const limit = await normLimitOf(config, about, batches, say, stop);
  return { limit, multiple: limit?.multiple ?? 0 };
}

/** As it was decided when the run began. */
function limitKept(begun: WrittenRecord, about: SourceDescription, { medianNorm: median }: Estimates): Decided {
  const multiple = Number(begun[MULTIPLE]);
  return { limit: about.normLimit ?? (median === undefined ? undefined : { multiple, median }), multiple };
}

/** Says what is unusual about the activations. */
export async function remark({ config, about, batches, say, stop }: Looking, limit?: NormLimit): Promise<void> {
  const { x } = await sampleRows(batches, about, REMARK_ROWS, stop);
  for (const line of remarksOn(x, about.dIn, config, limit)) say(line);
}

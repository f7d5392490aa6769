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

/** A run that samples its activations before the first step. */
export interface Looking {
  readonly config: TrainConfig;
  readonly about: SourceDescription;
  readonly batches: Batches;
  /** Receives log lines. */
  readonly say: (line: string) => void;
  readonly stop: StopRequest;
}

/** The part of a checkpoint about its activations. */
interface Kept {
  readonly estimates: Estimates;
  readonly leftOut?: number;
}

/**
 * Everything known about the activations before the first step, and the rule for leaving rows out of training.
 *
 * @param begun settings that determine the run's result, as far as known without the activations
 * @returns `fixed` is all of it, and `own` the same as flags
 */
export async function knownOf(looking: Looking, begun: WrittenRecord, kept: Kept | undefined) {
  const { config, about, batches, stop } = looking;
  const { limit, multiple } = kept ? limitKept(begun, about, kept.estimates) : await newLimit(looking);
  // A store harvested without long rows contains none to leave out.
  const ordinary = limit && !about.normLimit ? new OrdinaryRows(limit, about, kept?.leftOut) : undefined;
  const among = ordinary?.looking(batches) ?? batches;
  const described = limit ? { ...about, normLimit: limit } : about;
  const estimates = kept?.estimates ?? {
    ...(await estimate(config, ordinary?.about ?? about, among, stop)),
    ...(ordinary && { medianNorm: limit!.median }),
  };
  const coordinates = estimates.factors && new Coordinates(estimates.factors, about);
  const sampled = coordinates?.looking(among) ?? among;
  const fixed: WrittenRecord = { ...begun, [MULTIPLE]: multiple };
  const own: TrainConfig = { ...config, maxActivationNormMultiple: multiple };
  return { estimates, ordinary, described, coordinates, seen: coordinates?.about ?? about, sampled, fixed, own };
}

const MULTIPLE = recordName('maxActivationNormMultiple');

/** The rule for rows that are too long, and what the run records about it. */
interface Decided {
  readonly limit: NormLimit | undefined;
  /** 0: none is left out. */
  readonly multiple: number;
}

async function newLimit({ config, about, batches, say, stop }: Looking): Promise<Decided> {
  const limit = await normLimitOf(config, about, batches, say, stop);
  return { limit, multiple: limit?.multiple ?? 0 };
}

/** As decided when the run started. */
function limitKept(begun: WrittenRecord, about: SourceDescription, { medianNorm: median }: Estimates): Decided {
  const multiple = Number(begun[MULTIPLE]);
  return { limit: about.normLimit ?? (median === undefined ? undefined : { multiple, median }), multiple };
}

/** Reports unusual properties of the activations. */
export async function remark({ config, about, batches, say, stop }: Looking, limit?: NormLimit): Promise<void> {
  const { x } = await sampleRows(batches, about, REMARK_ROWS, stop);
  for (const line of remarksOn(x, about.dIn, config, limit)) say(line);
}

import { isDeepStrictEqual } from 'node:util';
import { Refusal } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';
import { PROPORTIONAL, scaleActivations } from '../sae/activation-scale.js';
import { canConvert, convert } from '../sae/convert.js';
import { initialise } from '../sae/initialise.js';
import { type Parameters, PLAIN, type Sae } from '../sae/sae.js';
import { openSae, readSae } from '../sae/saelens.js';
import type { EngineSettings, TrainerState } from './engines/engine.js';
import { isTrained } from './engines/objective.js';
import { poisonIn } from './finite-state.js';

/**
 * Random weights, or the SAE named by --init as it is at the training scale. One of another architecture is rewritten
 * where that changes nothing of what it computes.
 *
 * @param median of raw activations, [d_in], where --b-dec-init asks for it
 */
export async function startingPoint(
  config: TrainConfig,
  settings: EngineSettings,
  median: () => Promise<Float64Array>,
): Promise<TrainerState> {
  const { architecture, dIn, dSae, scale } = settings;
  let sae: Sae;
  if (config.init !== undefined) {
    sae = scaleActivations(await initialSae(config.init, config, settings), scale);
  } else {
    sae = initialise(architecture, dIn, dSae, config.seed);
    if (config.bDecInit === 'geometric-median') {
      sae.parameters.b_dec = Float32Array.from(await median(), (x) => x * scale);
    }
  }
  return new Map(Object.entries(sae.parameters));
}

/** Biases of --init that are not trained, as they lie on disk: scaling them there and back would round them. */
export async function frozenBiases(config: TrainConfig, settings: EngineSettings): Promise<Parameters> {
  const names = PROPORTIONAL.filter((name) => !isTrained(settings, name));
  if (config.init === undefined || names.length === 0) return {};
  const { parameters } = await initialSae(config.init, config, settings);
  return Object.fromEntries(names.filter((name) => parameters[name]).map((name) => [name, parameters[name]]));
}

/** @throws Refusal when it does not fit the run */
async function initialSae(init: string, config: TrainConfig, settings: EngineSettings): Promise<Sae> {
  const { architecture, dIn, dSae } = settings;
  const files = await openSae(init);
  const differs = (what: string, found: unknown, wanted: unknown) => {
    throw new Refusal(
      `${init} has ${what} ${found} where this run has ${wanted}.`,
      'Start from an SAE of the same size, of the same architecture or standard.',
    );
  };
  if (!canConvert(files.architecture, architecture)) differs('architecture', files.architecture, architecture);
  if (files.dIn !== dIn) differs('d_in', files.dIn, `${dIn} (${config.activations})`);
  if (files.dSae !== dSae) differs('d_sae', files.dSae, dSae);
  if (!isDeepStrictEqual(files.forward ?? PLAIN, PLAIN)) {
    throw new Refusal(
      `${init} was trained with ${JSON.stringify(files.forward)}, which cannot be trained here.`,
      `Start from an SAE with ${JSON.stringify(PLAIN)}.`,
    );
  }
  const sae = convert(await readSae(files), architecture);
  const poison = poisonIn(new Map(Object.entries(sae.parameters)), dIn, isTrained(settings, 'W_dec'));
  if (poison) throw new Refusal(`${init} cannot be trained: ${poison}.`, 'Start from another SAE.');
  if (config.ablate?.includes('no-r-mag') && sae.parameters.r_mag!.some((r) => r !== 0)) {
    throw new Refusal(
      `${init} has an r_mag that is not 0, and --ablate no-r-mag keeps it at 0.`,
      'Use --train to freeze r_mag as it is.',
    );
  }
  return sae;
}

import { Refusal } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';
import { scaleActivations } from '../sae/activation-scale.js';
import { initialise } from '../sae/initialise.js';
import type { Sae } from '../sae/sae.js';
import { openSae, readSae } from '../sae/saelens.js';
import type { EngineSettings, TrainerState } from './engines/engine.js';

/**
 * Random weights, or the SAE named by --init as it is at the training scale.
 *
 * @param place what the activations come from, for messages
 */
export async function startingPoint(
  config: TrainConfig,
  settings: EngineSettings,
  place: string,
): Promise<TrainerState> {
  const { architecture, dIn, dSae } = settings;
  let sae: Sae;
  if (config.init === undefined) {
    sae = initialise(architecture, dIn, dSae, config.seed);
  } else {
    const files = await openSae(config.init);
    const differs = (what: string, found: unknown, wanted: unknown) => {
      throw new Refusal(
        `${config.init} has ${what} ${found} where this run has ${wanted}.`,
        'Start from an SAE of the same architecture and size.',
      );
    };
    if (files.architecture !== architecture) differs('architecture', files.architecture, architecture);
    if (files.dIn !== dIn) differs('d_in', files.dIn, `${dIn} (${place})`);
    if (files.dSae !== dSae) differs('d_sae', files.dSae, dSae);
    sae = scaleActivations(await readSae(files), settings.scale);
  }
  return new Map(Object.entries(sae.parameters));
}

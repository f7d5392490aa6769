import type { Sae } from '../sae/sae.js';
import type { EngineSettings } from './engines/engine.js';
import { followedBy } from './engines/state.js';

/**
 * The SAE with what follows its batches, a running mean that began at 0, divided by the share of them that is in it:
 * 1 − (1 − share)^steps, as Adam does with its moments (Kingma and Ba 2015). After some hundreds of steps nothing changes.
 * The state of a run and its checkpoints have the mean as it is.
 *
 * @param sae in which it began at 0
 */
export function withWholeMean(sae: Sae, settings: EngineSettings, steps: number): Sae {
  const follows = followedBy(settings);
  const mean = follows && sae.parameters[follows.parameter];
  if (!mean || steps === 0) return sae;
  const share = 1 - (1 - follows.share) ** steps;
  return { ...sae, parameters: { ...sae.parameters, [follows.parameter]: mean.map((value) => value / share) } };
}

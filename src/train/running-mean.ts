import type { Sae } from '../sae/sae.js';
import type { EngineSettings } from './engines/engine.js';
import { followedBy } from './engines/state.js';

/**
 * The SAE with its running mean over batches, which started at 0, divided by the weight accumulated so far: 1 − (1 −
 * share)^steps, like Adam's bias correction (Kingma and Ba 2015). After a few hundred steps this changes nothing. A
 * run's state and checkpoints contain the uncorrected mean.
 * @param sae whose mean started at 0
 */
export function withWholeMean(sae: Sae, settings: EngineSettings, steps: number): Sae {
  const follows = followedBy(settings);
  const mean = follows && sae.parameters[follows.parameter];
  if (!mean || steps === 0) return sae;
  const share = 1 - (1 - follows.share) ** steps;
  return { ...sae, parameters: { ...sae.parameters, [follows.parameter]: mean.map((value) => value / share) } };
}

import { UsageRefusal } from '../config/refusal.js';
import { ablations, type TrainConfig } from '../config/stages.js';
import { PARAMETERS } from '../sae/sae.js';
import type { EngineSettings } from './engines/engine.js';
import type { Ablation } from './engines/objective.js';

/** Pairs that leave one of the two nothing to change. */
const CONTRADICTIONS: readonly (readonly [Ablation, Ablation, string])[] = [
  ['untied-encoder', 'no-r-mag', 'an untied encoder has no r_mag'],
  ['unfrozen-decoder', 'no-auxiliary', 'without an auxiliary loss nothing of its decoder is frozen'],
];

/** The ablations of a run, each once, in one order however they were given. */
export function ablationsOf({ ablate = [] }: Pick<TrainConfig, 'ablate'>): Ablation[] {
  return ablations.filter((name) => ablate.includes(name));
}

/**
 * What --arch, --ablate and --train mean to an engine.
 *
 * @throws UsageRefusal where they contradict each other
 */
export function ablatedSettings(
  config: Pick<TrainConfig, 'arch' | 'ablate' | 'train'>,
): Required<Pick<EngineSettings, 'architecture' | 'ablations' | 'trained'>> {
  const { arch, train } = config;
  const ablate = ablationsOf(config);
  if (ablate.length > 0 && arch !== 'gated') {
    throw new UsageRefusal(`--ablate changes a gated SAE, and --arch is ${arch}.`, 'Leave --ablate out.');
  }
  for (const [a, b, because] of CONTRADICTIONS) {
    if (ablate.includes(a) && ablate.includes(b)) {
      throw new UsageRefusal(`--ablate ${a} and ${b} exclude each other: ${because}.`, 'Give one of them.');
    }
  }
  const architecture = ablate.includes('untied-encoder') ? 'gated_untied' : arch;
  const names = PARAMETERS[architecture].filter((name) => name !== 'r_mag' || !ablate.includes('no-r-mag'));
  const foreign = train?.find((name) => !names.includes(name));
  if (foreign !== undefined) {
    throw new UsageRefusal(`--train ${foreign} is nothing that this SAE trains.`, `It trains ${names.join(', ')}.`);
  }
  return {
    architecture,
    ablations: ablate.filter((name) => name !== 'untied-encoder' && name !== 'no-r-mag'),
    trained: train ? names.filter((name) => train.some((given) => given === name)) : names,
  };
}

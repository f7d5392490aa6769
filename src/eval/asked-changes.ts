import type { EvalConfig } from '../config/stages/eval.js';
import { readFeatureList } from '../sae/change-files.js';
import { type Change, checkChanges, type NamedSae } from '../sae/feature-changes.js';
import type { EvalSettings } from './record.js';

/** The changes requested by --ablate-features and --set-features, for each SAE. */
export async function featureChanges(
  { ablateFeatures, setFeatures }: EvalConfig,
  saes: readonly NamedSae[],
): Promise<readonly (readonly Change[])[]> {
  const changes = [
    ...(ablateFeatures === undefined ? [] : await readFeatureList(ablateFeatures, 'ablate', saes)),
    ...(setFeatures === undefined ? [] : await readFeatureList(setFeatures, 'set', saes)),
  ];
  checkChanges(changes, saes);
  return saes.map((_, i) => changes.filter(({ sae }) => sae === i));
}

/** Settings that also record the changed features. */
export function withChanges(settings: EvalSettings, changes: readonly Change[]): EvalSettings {
  if (changes.length === 0) return settings;
  const feature_changes = changes.map(({ feature, operation, strength }) =>
    operation === 'ablate' ? { feature, ablate: true as const } : { feature, set: strength },
  );
  return { ...settings, feature_changes };
}

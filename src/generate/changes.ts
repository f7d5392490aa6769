import { type Change, type ChangeOfSae, factorsOf } from '../sae/feature-changes.js';

// Changes of features as numeric inputs of a graph.

/** Changes in one text. */
export interface RowChanges {
  /** For each SAE, the same features in every text of a batch. */
  readonly ofSaes: readonly ChangeOfSae[];
  /** Are features changed at this token? 0 is the first, including a BOS. */
  readonly at: (position: number) => boolean;
}

/** The changes of one text. */
export function rowChanges(changes: readonly Change[], saes: number, at: RowChanges['at']): RowChanges {
  const ofSaes = Array.from({ length: saes }, (_, sae) => factorsOf(changes.filter((change) => change.sae === sae)));
  return { ofSaes, at };
}

/** The same features, without any change. */
export const unchangedRow = (changes: readonly Change[], saes: number): RowChanges =>
  rowChanges(
    changes.map((change) => ({ ...change, operation: 'scale', strength: 1 })),
    saes,
    () => false,
  );

/** Changes with every strength replaced by this one. */
export const withStrength = (changes: readonly Change[], strength: number): Change[] =>
  changes.map((change) => ({ ...change, strength }));

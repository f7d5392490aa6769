import { type Change, type ChangeOfSae, factorsOf } from '../sae/feature-changes.js';

// Changes of features as numbers of a graph.

/** What is changed in one text. */
export interface RowChanges {
  /** Of each SAE, the same features for every text of a batch. */
  readonly ofSaes: readonly ChangeOfSae[];
  /** Are features changed at this token? 0 is the first, BOS where there is one. */
  readonly at: (position: number) => boolean;
}

/** The changes of one text. */
export function rowChanges(changes: readonly Change[], saes: number, at: RowChanges['at']): RowChanges {
  const ofSaes = Array.from({ length: saes }, (_, sae) => factorsOf(changes.filter((change) => change.sae === sae)));
  return { ofSaes, at };
}

/** The same features, with nothing done to them. */
export const unchangedRow = (changes: readonly Change[], saes: number): RowChanges =>
  rowChanges(
    changes.map((change) => ({ ...change, operation: 'scale', strength: 1 })),
    saes,
    () => false,
  );

/** Changes with every strength replaced by this one. */
export const withStrength = (changes: readonly Change[], strength: number): Change[] =>
  changes.map((change) => ({ ...change, strength }));

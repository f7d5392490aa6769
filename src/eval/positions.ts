import { type Context, isLeftOut, type LeftOut } from '../corpus/contexts.js';

/** Which positions of a batch are spliced, which count, and what follows them. */
export interface Positions {
  /** Flat positions of tokens other than BOS: their activations are replaced. */
  readonly spliced: number[];
  /** Indices into `spliced` of the positions that count. */
  readonly counted: number[];
  /** Flat position and following token of each position that counts. */
  readonly rows: number[];
  readonly targets: number[];
}

/**
 * BOS keeps its clean activation in every variant: SAEs are not trained on it (its norm is far from all others), and
 * zero-ablating it would break attention in ways that have nothing to do with the SAE. A position counts when neither
 * it nor the token it predicts is BOS; at most `limit` count.
 */
export function evaluationPositions(batch: readonly Context[], leftOut: LeftOut, limit: number): Positions {
  const positions: Positions = { spliced: [], counted: [], rows: [], targets: [] };
  for (const [b, { tokens }] of batch.entries()) {
    for (const [t, token] of tokens.entries()) {
      if (isLeftOut(token, leftOut)) continue;
      const next = tokens[t + 1];
      if (next !== undefined && !isLeftOut(next, leftOut) && positions.counted.length < limit) {
        positions.counted.push(positions.spliced.length);
        positions.rows.push(b * tokens.length + t);
        positions.targets.push(next);
      }
      positions.spliced.push(b * tokens.length + t);
    }
  }
  return positions;
}

/** Positions of a context that count. */
export function countPositions(context: Context, leftOut: LeftOut): number {
  return evaluationPositions([context], leftOut, Number.POSITIVE_INFINITY).counted.length;
}

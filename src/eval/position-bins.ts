/** Bins of the position in the context, at most. */
const BINS = 16;

/**
 * Edges of bins over the positions that can count, 1 to context − 2 (BOS is at 0, and the last token predicts nothing):
 * bin i has edges[i] ≤ position < edges[i + 1], and all bins are as wide as one another but for rounding.
 */
export function positionEdges(context: number): number[] {
  const positions = Math.max(1, context - 2);
  const bins = Math.min(BINS, positions);
  return Array.from({ length: bins + 1 }, (_, i) => 1 + Math.floor((i * positions) / bins));
}

/** The bin of each position, [context]; positions that cannot count are in none (−1). */
export function binsOfPositions(context: number): Int32Array {
  const edges = positionEdges(context);
  const bins = new Int32Array(context).fill(-1);
  for (let i = 0; i + 1 < edges.length; i++) bins.fill(i, edges[i]!, edges[i + 1]!);
  return bins;
}

import { resolve } from 'node:path';
import type { SweepRun } from './runs.js';

/** Runs that start from an SAE of this sweep (--init) come after those that make one. */
export function waves(runs: readonly SweepRun[]): SweepRun[][] {
  const made = new Set(runs.map((run) => resolve(run.config.out)));
  const later = (run: SweepRun) => run.config.init !== undefined && made.has(resolve(run.config.init));
  return [runs.filter((run) => !later(run)), runs.filter(later)];
}

/** Groups runs that read the same rows in the same order. */
export function sharingOrder(runs: readonly SweepRun[]): SweepRun[][] {
  const groups = new Map<string, SweepRun[]>();
  for (const run of runs) {
    const { activations, target, order, seed, batch, poolRows } = run.config;
    const key = JSON.stringify([activations, target, order, seed, batch, poolRows]);
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  return [...groups.values()];
}

/** Runs trained by one task. */
interface Piece {
  readonly runs: readonly SweepRun[];
  /** May it be split? Not if a run needs another one's SAE. */
  readonly divisible: boolean;
}

/**
 * Divides the runs of a sweep among `tasks`, based only on the runs and their costs, so that every task computes the
 * same division. Runs that share a pass over the store go to one task; while there are fewer such groups than tasks,
 * the most expensive is split in two; if there are more, each goes to the least loaded task, most expensive first. A
 * run that starts from another one's SAE goes to the same task.
 *
 * @param costOf cost of a run, in any unit: activations times features
 * @returns the runs of each task, in order; none for surplus tasks
 */
export function divide(runs: readonly SweepRun[], tasks: number, costOf: (run: SweepRun) => number): SweepRun[][] {
  const cost = (some: readonly SweepRun[]) => some.reduce((sum, run) => sum + costOf(run), 0);
  let pieces = connected(sharingOrder(runs), runs);
  while (pieces.length < tasks) {
    const cuttable = pieces.filter((piece) => piece.divisible && piece.runs.length > 1);
    const heaviest = costliest(cuttable, ({ runs }) => cost(runs));
    if (heaviest === undefined) break;
    pieces = pieces.flatMap((piece) => (piece === heaviest ? halves(piece, costOf) : [piece]));
  }
  // There may be a million tasks, and none gets a second group while another has none.
  const shares = Array.from({ length: Math.min(tasks, pieces.length) }, () => new Set<SweepRun>());
  const load = shares.map(() => 0);
  const byCost = pieces.map(({ runs }) => ({ runs, cost: cost(runs) })).sort((a, b) => b.cost - a.cost);
  for (const piece of byCost) {
    const lightest = load.indexOf(Math.min(...load));
    load[lightest]! += piece.cost;
    for (const run of piece.runs) shares[lightest]!.add(run);
  }
  return Array.from({ length: tasks }, (_, task) => (shares[task] ? runs.filter((run) => shares[task]!.has(run)) : []));
}

/** Merges groups that need SAEs of each other. */
function connected(groups: readonly (readonly SweepRun[])[], runs: readonly SweepRun[]): Piece[] {
  const maker = new Map(runs.map((run) => [resolve(run.config.out), run]));
  const pieceOf = new Map<SweepRun, Set<SweepRun>>();
  for (const group of groups) {
    const piece = new Set(group);
    for (const run of group) pieceOf.set(run, piece);
  }
  const tied = new Set<SweepRun>();
  for (const run of runs) {
    const from = run.config.init === undefined ? undefined : maker.get(resolve(run.config.init));
    if (from === undefined) continue;
    tied.add(run);
    const [piece, other] = [pieceOf.get(run)!, pieceOf.get(from)!];
    if (piece === other) continue;
    for (const one of other) {
      piece.add(one);
      pieceOf.set(one, piece);
    }
  }
  return [...new Set(runs.map((run) => pieceOf.get(run)!))].map((piece) => ({
    runs: runs.filter((run) => piece.has(run)),
    divisible: ![...piece].some((run) => tied.has(run)),
  }));
}

/** The first of the most expensive groups. */
function costliest<T>(some: readonly T[], cost: (one: T) => number): T | undefined {
  return some.reduce<T | undefined>(
    (best, one) => (best === undefined || cost(one) > cost(best) ? one : best),
    undefined,
  );
}

/** Two contiguous pieces of as equal cost as possible; neither is empty. */
function halves({ runs }: Piece, costOf: (run: SweepRun) => number): Piece[] {
  const total = runs.reduce((sum, run) => sum + costOf(run), 0);
  let before = 0;
  let at = 1;
  let least = Number.POSITIVE_INFINITY;
  for (let cut = 1; cut < runs.length; cut++) {
    before += costOf(runs[cut - 1]!);
    const difference = Math.abs(total - 2 * before);
    if (difference < least) [least, at] = [difference, cut];
  }
  return [runs.slice(0, at), runs.slice(at)].map((half) => ({ runs: half, divisible: true }));
}

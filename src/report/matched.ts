import { type Entry, families, sameFamily } from './entries.js';
import { fixed } from './format.js';

/**
 * L0 at which a family would reach a loss recovered, linear in log L0 between the two neighbouring SAEs; null where no
 * two neighbours enclose it, or where it is crossed more than once.
 */
export function l0AtLossRecovered(family: readonly Entry[], target: number): number | null {
  const points = family
    .map(({ record }) => ({ l0: record.l0, recovered: record.loss_recovered }))
    .filter(({ l0, recovered }) => l0 > 0 && Number.isFinite(recovered))
    .sort((a, b) => a.l0 - b.l0);
  const crossings: number[] = [];
  for (const [i, right] of points.entries()) {
    const left = points[i - 1];
    if (left === undefined || left.recovered < target === right.recovered < target) continue;
    const share = (target - left.recovered) / (right.recovered - left.recovered);
    crossings.push(left.l0 * (right.l0 / left.l0) ** share);
  }
  return crossings.length === 1 ? crossings[0]! : null;
}

/**
 * One sentence a hook that compares gated and standard SAEs at equal loss recovered: halfway between the ends of what
 * both reach, in steps of a half per cent. None where the two do not overlap.
 */
export function matchedSentences(entries: readonly Entry[]): string[] {
  return families(entries).flatMap((gated) => {
    const first = gated[0]!;
    if (first.record.architecture !== 'gated') return [];
    const site = entries.filter((entry) => entry.site === first.site);
    const standard = site.filter((entry) => !sameFamily(entry, first) && entry.record.architecture === 'standard');
    if (standard.length < 2 || gated.length < 2) return [];
    const reach = [gated, standard].map((family) => family.map(({ record }) => record.loss_recovered));
    const low = Math.max(...reach.map((values) => Math.min(...values)));
    const high = Math.min(...reach.map((values) => Math.max(...values)));
    const target = Math.round(((low + high) / 2) * 200) / 200;
    const [ours, theirs] = [l0AtLossRecovered(gated, target), l0AtLossRecovered(standard, target)];
    if (ours === null || theirs === null) return [];
    const where = site.length === entries.length ? '' : ` of ${first.site}`;
    return [
      `At ${fixed(100 * target, 1)} % loss recovered${where}, linear in log L0 between neighbouring points, gated SAEs have L0 ${fixed(ours, 1)} and standard SAEs ${fixed(theirs, 1)} (${fixed(theirs / ours, 2)} times as many).`,
    ];
  });
}

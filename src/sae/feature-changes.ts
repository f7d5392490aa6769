import { basename } from 'node:path';
import { Refusal, UsageRefusal } from '../errors/refusal.js';

// What is done to features of SAEs, and how people name them.

/** What a feature's activation f becomes: v (set), f + v (add), v · f (scale), 0 (ablate). */
export const operations = ['set', 'add', 'scale', 'ablate'] as const;
export type Operation = (typeof operations)[number];

/** One feature of one SAE, and what is done to it. */
export interface Change {
  /** Number of the SAE in the command. */
  readonly sae: number;
  readonly feature: number;
  readonly operation: Operation;
  /** v; 0 of ablate. */
  readonly strength: number;
}

/** f′ = scale · f + shift of features of one SAE, which run side by side. */
export interface ChangeOfSae {
  readonly features: readonly number[];
  readonly scale: readonly number[];
  readonly shift: readonly number[];
}

/** Changes of one SAE as factors and summands. */
export function factorsOf(changes: readonly Change[]): ChangeOfSae {
  return {
    features: changes.map(({ feature }) => feature),
    scale: changes.map(({ operation, strength }) => ({ set: 0, add: 1, scale: strength, ablate: 0 })[operation]),
    shift: changes.map(({ operation, strength }) => (operation === 'set' || operation === 'add' ? strength : 0)),
  };
}

/** An SAE of the command, as features name it. */
export interface NamedSae {
  readonly path: string;
  readonly dSae: number;
}

/**
 * @throws Refusal where a feature does not exist; UsageRefusal where a strength is too large, or a feature is changed twice
 */
export function checkChanges(changes: readonly Change[], saes: readonly NamedSae[]): void {
  const seen = new Set<string>();
  for (const { sae, feature, strength } of changes) {
    const { path, dSae } = saes[sae]!;
    if (!Number.isInteger(feature) || feature < 0 || feature >= dSae) {
      throw new Refusal(
        `${path} has no feature ${feature}: it has ${dSae}.`,
        `Name one of 0 to ${dSae - 1}.`,
        'generate/no-feature',
      );
    }
    if (!Number.isFinite(Math.fround(strength))) {
      throw new UsageRefusal(
        `The strength ${strength} of feature ${feature} is more than a float32 holds.`,
        'Use a smaller strength; activations of features are rarely above a few hundred.',
        'generate/not-finite',
      );
    }
    const key = `${sae}/${feature}`;
    if (seen.has(key)) {
      throw new UsageRefusal(
        `Feature ${feature} of ${path} is changed twice.`,
        'Name it once.',
        'generate/feature-twice',
      );
    }
    seen.add(key);
  }
}

/**
 * A feature as people name it: 17, or SAE:17 where there are several.
 *
 * @param where it is named, for the message: a flag, or a line of a file
 */
export function featureNamed(name: string, saes: readonly NamedSae[], where: string): { sae: number; feature: number } {
  const [, of, digits] = /^(?:(.*):)?(\d{1,15})$/.exec(name.trim()) ?? [];
  if (digits === undefined) {
    throw new UsageRefusal(
      `${where} "${name}" is not the number of a feature.`,
      'Write 17, or SAE:17 with the name of its directory where there are several SAEs.',
      'config/wrong-value',
    );
  }
  return { sae: saeNamed(of, saes), feature: Number(digits) };
}

/** Number of the SAE of a name: its path, or the last part of it; without one, the only SAE. */
export function saeNamed(name: string | undefined, saes: readonly NamedSae[]): number {
  const known = saes.map(({ path }) => path);
  const found = [...saes.keys()].filter((i) => name === undefined || known[i] === name || basename(known[i]!) === name);
  if (found.length === 1) return found[0]!;
  if (name === undefined) {
    throw new UsageRefusal(
      `There are ${saes.length} SAEs (${known.join(', ')}), and a feature does not say of which it is.`,
      'Write SAE:17 with the name of its directory.',
      'generate/which-sae',
    );
  }
  throw new UsageRefusal(
    found.length === 0 ? `There is no SAE "${name}" among ${known.join(', ')}.` : `Several SAEs are called "${name}".`,
    'Name it as --sae does.',
    'generate/which-sae',
  );
}

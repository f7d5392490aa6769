import { basename } from 'node:path';
import { Refusal, UsageRefusal } from '../errors/refusal.js';

// Changes of SAE features, and how they are written.

/** The new value of a feature's activation f: v (set), f + v (add), v · f (scale), 0 (ablate). */
export const operations = ['set', 'add', 'scale', 'ablate'] as const;
export type Operation = (typeof operations)[number];

/** A feature of an SAE, and the operation on it. */
export interface Change {
  /** Index of the SAE in the command. */
  readonly sae: number;
  readonly feature: number;
  readonly operation: Operation;
  /** v; 0 for ablate. */
  readonly strength: number;
}

/** f′ = scale · f + shift for features of one SAE, as parallel arrays. */
export interface ChangeOfSae {
  readonly features: readonly number[];
  readonly scale: readonly number[];
  readonly shift: readonly number[];
}

/** Changes of one SAE as factors and offsets. */
export function factorsOf(changes: readonly Change[]): ChangeOfSae {
  return {
    features: changes.map(({ feature }) => feature),
    scale: changes.map(({ operation, strength }) => ({ set: 0, add: 1, scale: strength, ablate: 0 })[operation]),
    shift: changes.map(({ operation, strength }) => (operation === 'set' || operation === 'add' ? strength : 0)),
  };
}

/** An SAE of the command, with its name. */
export interface NamedSae {
  readonly path: string;
  readonly dSae: number;
}

/**
 * @throws Refusal if a feature does not exist; UsageRefusal if a strength is too large, or a feature is changed twice
 */
export function checkChanges(changes: readonly Change[], saes: readonly NamedSae[]): void {
  const seen = new Set<string>();
  for (const { sae, feature, strength } of changes) {
    const { path, dSae } = saes[sae]!;
    if (!Number.isInteger(feature) || feature < 0 || feature >= dSae) {
      throw new Refusal(
        `${path} has no feature ${feature}: it has ${dSae}.`,
        `Give one of 0 to ${dSae - 1}.`,
        'generate/no-feature',
      );
    }
    if (!Number.isFinite(Math.fround(strength))) {
      throw new UsageRefusal(
        `The strength ${strength} of feature ${feature} is outside the range of float32.`,
        'Use a smaller strength; activations of features are rarely above a few hundred.',
        'generate/not-finite',
      );
    }
    const key = `${sae}/${feature}`;
    if (seen.has(key)) {
      throw new UsageRefusal(
        `Feature ${feature} of ${path} is changed twice.`,
        'Give it once.',
        'generate/feature-twice',
      );
    }
    seen.add(key);
  }
}

/**
 * Parses a feature: 17, or SAE:17 if there are several SAEs.
 *
 * @param where source of the name for messages: a flag, or a line of a file
 */
export function featureNamed(name: string, saes: readonly NamedSae[], where: string): { sae: number; feature: number } {
  const [, of, digits] = /^(?:(.*):)?(\d{1,15})$/.exec(name.trim()) ?? [];
  if (digits === undefined) {
    throw new UsageRefusal(
      `${where} "${name}" is not the number of a feature.`,
      'Write 17, or SAE:17 with the name of its directory if there are several SAEs.',
      'config/wrong-value',
    );
  }
  return { sae: saeNamed(of, saes), feature: Number(digits) };
}

/** Index of the named SAE: by its path, or its last component; without a name, the only SAE. */
export function saeNamed(name: string | undefined, saes: readonly NamedSae[]): number {
  const known = saes.map(({ path }) => path);
  const found = [...saes.keys()].filter((i) => name === undefined || known[i] === name || basename(known[i]!) === name);
  if (found.length === 1) return found[0]!;
  if (name === undefined) {
    throw new UsageRefusal(
      `There are ${saes.length} SAEs (${known.join(', ')}), and a feature is given without its SAE.`,
      'Write SAE:17 with the name of its directory.',
      'generate/which-sae',
    );
  }
  throw new UsageRefusal(
    found.length === 0
      ? `No SAE is called "${name}"; there are ${known.join(', ')}.`
      : `Several SAEs are called "${name}".`,
    'Name it as in --sae.',
    'generate/which-sae',
  );
}

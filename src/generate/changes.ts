import { basename } from 'node:path';
import { z } from 'zod';
import { checkJson, readJsonFile } from '../disk/json.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';

// What is done to features: read from flags or a file, and as numbers of a graph.

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
interface ChangeOfSae {
  readonly features: readonly number[];
  readonly scale: readonly number[];
  readonly shift: readonly number[];
}

/** What is changed in one text. */
export interface RowChanges {
  /** Of each SAE, the same features for every text of a batch. */
  readonly ofSaes: readonly ChangeOfSae[];
  /** Are features changed at this token? 0 is the first, BOS where there is one. */
  readonly at: (position: number) => boolean;
}

/** The changes of one text. */
export function rowChanges(changes: readonly Change[], saes: number, at: RowChanges['at']): RowChanges {
  const ofSaes = Array.from({ length: saes }, (_, sae) => {
    const own = changes.filter((change) => change.sae === sae);
    return {
      features: own.map(({ feature }) => feature),
      scale: own.map(({ operation, strength }) => ({ set: 0, add: 1, scale: strength, ablate: 0 })[operation]),
      shift: own.map(({ operation, strength }) => (operation === 'set' || operation === 'add' ? strength : 0)),
    };
  });
  return { ofSaes, at };
}

/** The same features, with nothing done to them. */
export const unchangedRow = (changes: readonly Change[], saes: number): RowChanges =>
  rowChanges(
    changes.map((change) => ({ ...change, operation: 'scale', strength: 1 })),
    saes,
    () => false,
  );

/** An SAE of the command, as features name it. */
export interface NamedSae {
  readonly path: string;
  readonly dSae: number;
}

/** Flags that say what is done to which features. */
export interface ChangeFlags {
  readonly feature?: readonly string[];
  readonly set?: readonly number[];
  readonly add?: readonly number[];
  readonly scale?: readonly number[];
  readonly ablate: boolean;
  readonly changes?: string;
  readonly dose?: readonly number[];
}

/**
 * The changes that flags, or the file of --changes, ask for.
 *
 * @throws UsageRefusal where flags contradict each other; Refusal where a feature or an SAE does not exist
 */
export async function readChanges(flags: ChangeFlags, saes: readonly NamedSae[]): Promise<Change[]> {
  const changes =
    flags.changes === undefined ? changesOfFlags(flags, saes) : await changesOfFile(flags.changes, flags, saes);
  const seen = new Set<string>();
  for (const { sae, feature, strength } of changes) {
    const { path, dSae } = saes[sae]!;
    if (feature >= dSae) {
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
  const untouched = saes.find((_, sae) => !changes.some((change) => change.sae === sae));
  if (untouched) {
    throw new UsageRefusal(
      `No feature of ${untouched.path} is changed.`,
      'Name one, or leave that --sae out.',
      'generate/unused-sae',
    );
  }
  return changes;
}

/** Changes with every strength replaced by this one. */
export const withStrength = (changes: readonly Change[], strength: number): Change[] =>
  changes.map((change) => ({ ...change, strength }));

function changesOfFlags(flags: ChangeFlags, saes: readonly NamedSae[]): Change[] {
  const { feature: names = [], dose } = flags;
  if (names.length === 0) {
    throw new UsageRefusal(
      'No feature is named.',
      'Name it with --feature, or several in the file of --changes.',
      'generate/no-change',
    );
  }
  const { operation, strengths } = operationOf(flags);
  if (strengths.length > 1 && strengths.length !== names.length) {
    throw new UsageRefusal(
      `--${operation} has ${strengths.length} strengths for ${names.length} features.`,
      'Give one for all, or one for each.',
      'generate/strengths',
    );
  }
  if (dose && operation === 'ablate') {
    throw new UsageRefusal(
      '--dose is of strengths, and --ablate has none.',
      'Leave --ablate out: --dose sets features, or adds or scales with --add or --scale.',
      'generate/strengths',
    );
  }
  return names.map((name, i) => ({
    ...featureNamed(name, saes),
    operation,
    strength: strengths[strengths.length > 1 ? i : 0]!,
  }));
}

/** The one operation that flags name. */
function operationOf(flags: ChangeFlags): { operation: Operation; strengths: readonly number[] } {
  const given = operations.filter((name) => (name === 'ablate' ? flags.ablate : flags[name] !== undefined));
  const [operation, other] = given;
  if (other !== undefined) {
    throw new UsageRefusal(
      `--${operation} and --${other} are two things to do to a feature.`,
      'Give one of them, or say in the file of --changes which feature is for which.',
      'generate/operations',
    );
  }
  if (operation === undefined && flags.dose) return { operation: 'set', strengths: [0] };
  if (operation === undefined) {
    throw new UsageRefusal(
      'Nothing says what to do to the feature.',
      'Add --set, --add or --scale with a number, or --ablate.',
      'generate/operations',
    );
  }
  return { operation, strengths: operation === 'ablate' ? [0] : flags[operation]! };
}

/** A feature as flags name it: 17, or SAE:17 where there are several. */
function featureNamed(name: string, saes: readonly NamedSae[]): { sae: number; feature: number } {
  const [, of, digits] = /^(?:(.*):)?(\d{1,15})$/.exec(name.trim()) ?? [];
  if (digits === undefined) {
    throw new UsageRefusal(
      `--feature "${name}" is not the number of a feature.`,
      'Write 17, or SAE:17 with the name of its directory where there are several SAEs.',
      'config/wrong-value',
    );
  }
  return { sae: saeNamed(of, saes), feature: Number(digits) };
}

/** Number of the SAE of a name: its path, or the last part of it; without one, the only SAE. */
function saeNamed(name: string | undefined, saes: readonly NamedSae[]): number {
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

const REMEDY = 'A change is like {"feature": 17, "set": 8}, with set, add or scale and a number, or "ablate": true.';

const fileSchema = z
  .array(
    z
      .strictObject({
        sae: z.string().optional(),
        feature: z.number().int().nonnegative(),
        set: z.number().optional(),
        add: z.number().optional(),
        scale: z.number().optional(),
        ablate: z.literal(true).optional(),
      })
      .refine(
        (one) => operations.filter((name) => one[name] !== undefined).length === 1,
        'one operation belongs there',
      ),
  )
  .min(1);

async function changesOfFile(path: string, flags: ChangeFlags, saes: readonly NamedSae[]): Promise<Change[]> {
  const other = (['feature', 'set', 'add', 'scale', 'dose'] as const).find((name) => flags[name] !== undefined);
  if (other !== undefined || flags.ablate) {
    throw new UsageRefusal(
      `--${other ?? 'ablate'} and --changes both say what to do to features.`,
      'Give one of them.',
      'generate/operations',
    );
  }
  const json = await readJsonFile(path, [`There is no file ${path}.`, REMEDY, 'generate/no-changes-file'], REMEDY);
  return checkJson(fileSchema, json, path, REMEDY).map((one) => {
    const operation = operations.find((name) => one[name] !== undefined)!;
    const strength = operation === 'ablate' ? 0 : one[operation]!;
    return { sae: saeNamed(one.sae, saes), feature: one.feature, operation, strength };
  });
}

/**
 * Where features are changed, by flags.
 *
 * @param positions a list of 3, 5-9 and the like
 * @param from from this token on
 * @param usual from which token on where neither says
 * @param longest tokens that a text may have
 * @throws UsageRefusal where both are given, or no text reaches a position
 */
export function changedPositions(
  { positions, from }: { readonly positions?: readonly string[]; readonly from?: number },
  usual: number,
  longest: number,
): RowChanges['at'] {
  if (positions === undefined) {
    const first = from ?? usual;
    if (first >= longest) throw outside(first, longest, '--from');
    return (position) => position >= first;
  }
  if (from !== undefined) {
    throw new UsageRefusal(
      '--positions and --from both say where features are changed.',
      'Give one of them.',
      'generate/positions',
    );
  }
  const ranges = positions.map((text) => {
    const [, first, last = first] = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(text.trim()) ?? [];
    if (first === undefined || Number(last) < Number(first)) {
      throw new UsageRefusal(
        `--positions "${text}" is not a position.`,
        'Write numbers of tokens from 0 on, or ranges: 3,5-9.',
        'config/wrong-value',
      );
    }
    if (Number(last) >= longest) throw outside(Number(last), longest, '--positions');
    return [Number(first), Number(last)] as const;
  });
  return (position) => ranges.some(([first, last]) => position >= first && position <= last);
}

const outside = (position: number, longest: number, flag: string) =>
  new UsageRefusal(
    `No text reaches position ${position}: prompt and continuation have ${longest} tokens at most.`,
    `Use a ${flag} below ${longest}, or more --tokens.`,
    'generate/positions',
  );

import { UsageRefusal } from '../errors/refusal.js';
import { readChangeFile } from '../sae/change-files.js';
import {
  type Change,
  checkChanges,
  featureNamed,
  type NamedSae,
  type Operation,
  operations,
} from '../sae/feature-changes.js';

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
  checkChanges(changes, saes);
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
    ...featureNamed(name, saes, '--feature'),
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

async function changesOfFile(path: string, flags: ChangeFlags, saes: readonly NamedSae[]): Promise<Change[]> {
  const other = (['feature', 'set', 'add', 'scale', 'dose'] as const).find((name) => flags[name] !== undefined);
  if (other !== undefined || flags.ablate) {
    throw new UsageRefusal(
      `--${other ?? 'ablate'} and --changes both say what to do to features.`,
      'Give one of them.',
      'generate/operations',
    );
  }
  return readChangeFile(path, saes);
}

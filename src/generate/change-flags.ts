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

/** Flags that select features and the operation on them. */
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
 * The changes requested by flags or by the file of --changes.
 *
 * @throws UsageRefusal if flags contradict each other; Refusal if a feature or an SAE does not exist
 */
export async function readChanges(flags: ChangeFlags, saes: readonly NamedSae[]): Promise<Change[]> {
  const changes =
    flags.changes === undefined ? changesOfFlags(flags, saes) : await changesOfFile(flags.changes, flags, saes);
  checkChanges(changes, saes);
  const untouched = saes.find((_, sae) => !changes.some((change) => change.sae === sae));
  if (untouched) {
    throw new UsageRefusal(
      `No feature of ${untouched.path} is changed.`,
      'Give one, or omit that --sae.',
      'generate/unused-sae',
    );
  }
  return changes;
}

function changesOfFlags(flags: ChangeFlags, saes: readonly NamedSae[]): Change[] {
  const { feature: names = [], dose } = flags;
  if (names.length === 0) {
    throw new UsageRefusal(
      'No feature is given.',
      'Give it with --feature, or list several in the file of --changes.',
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
      '--dose varies a strength, but --ablate has none.',
      'Omit --ablate: --dose sets features, or adds or scales with --add or --scale.',
      'generate/strengths',
    );
  }
  return names.map((name, i) => ({
    ...featureNamed(name, saes, '--feature'),
    operation,
    strength: strengths[strengths.length > 1 ? i : 0]!,
  }));
}

/** The single operation given by flags. */
function operationOf(flags: ChangeFlags): { operation: Operation; strengths: readonly number[] } {
  const given = operations.filter((name) => (name === 'ablate' ? flags.ablate : flags[name] !== undefined));
  const [operation, other] = given;
  if (other !== undefined) {
    throw new UsageRefusal(
      `--${operation} and --${other} are two different operations.`,
      'Give one of them, or list the operation for each feature in the file of --changes.',
      'generate/operations',
    );
  }
  if (operation === undefined && flags.dose) return { operation: 'set', strengths: [0] };
  if (operation === undefined) {
    throw new UsageRefusal(
      'No operation on the feature is given.',
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
      `--${other ?? 'ablate'} and --changes both give operations on features.`,
      'Give one of them.',
      'generate/operations',
    );
  }
  return readChangeFile(path, saes);
}

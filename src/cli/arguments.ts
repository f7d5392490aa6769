import { type Flag, flagsOf } from '../config/flags.js';
import { STAGES, type StageName } from '../config/stages.js';
import { insteadOfFlag, listed } from '../config/suggest.js';
import { UsageRefusal } from '../errors/refusal.js';
import { COMMANDS } from './commands.js';
import { LOG_FORMATS } from './explain.js';

/** A parsed command line, as text; nothing is validated or defaulted, so that a YAML file can fill in the rest. */
interface Arguments {
  /** Values by flag name: text, a boolean, or a list where the flag may be repeated. */
  readonly given: Record<string, unknown>;
  /** Positional arguments. */
  readonly positionals: readonly string[];
}

/**
 * Splits a command line: `--flag value`, `--flag=value`, `--switch`, `--no-switch`; after `--`, positional arguments
 * only.
 *
 * @throws UsageRefusal for an unknown flag, one without a value, or a non-repeatable one given twice
 */
export function splitArguments(stage: StageName, flags: readonly Flag[], args: readonly string[]): Arguments {
  const all = [...flags, ...COMMON];
  const also = all.flatMap((flag) => (flag.also === undefined ? [] : [[flag.also, flag] as const]));
  const byName = new Map([...also, ...all.map((flag) => [flag.name, flag] as const)]);
  const given: Record<string, unknown> = {};
  const positionals: string[] = [];
  const unknown = new Map<string, UsageRefusal>();
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === '--') {
      positionals.push(...args.slice(i + 1));
      break;
    }
    // A single dash means standard input or output.
    if (!arg.startsWith('-') || arg === '-') {
      positionals.push(arg);
      continue;
    }
    const equals = arg.indexOf('=');
    const name = equals < 0 ? arg : arg.slice(0, equals);
    const found = flagNamed(stage, name, byName);
    if (found instanceof UsageRefusal) {
      unknown.set(name, found);
      if (equals < 0 && mayBeValue(args[i + 1])) i++;
      continue;
    }
    const { flag, negated } = found;
    let value = equals < 0 ? undefined : arg.slice(equals + 1);
    if (value === undefined && !negated && takesNext(flag, args[i + 1])) value = args[++i];
    if (unknown.size === 0) put(given, flag, flag.type === 'boolean' ? switched(flag, value, negated) : value);
  }
  if (unknown.size > 0) throw allUnknown(unknown);
  return { given, positionals };
}

function flagNamed(
  stage: StageName,
  written: string,
  byName: ReadonlyMap<string, Flag>,
): { flag: Flag; negated: boolean } | UsageRefusal {
  const name = written.replace(/^--?/, '');
  const flag = byName.get(name);
  if (flag && written.startsWith('--')) return { flag, negated: false };
  const positive = written.startsWith('--no-') ? byName.get(name.slice('no-'.length)) : undefined;
  if (positive?.type === 'boolean') return { flag: positive, negated: true };
  if (positive)
    return new UsageRefusal(
      `${written} is not known: --${positive.name} takes a value.`,
      'Leave it out.',
      'config/unknown-flag',
    );
  const remedy = flag ? `Did you mean --${name}?` : insteadOfFlag(stage, name, (near) => `--${near}`);
  return new UsageRefusal(`${written} is not known.`, remedy, 'config/unknown-flag');
}

/** Reports all unknown flags at once: a command line from another tool would otherwise take one try per flag. */
function allUnknown(unknown: ReadonlyMap<string, UsageRefusal>): UsageRefusal {
  const [first, ...others] = unknown.values();
  if (others.length === 0) return first!;
  const remedies = [...unknown].map(([name, { remedy }]) => `${name}: ${remedy}`);
  return new UsageRefusal(`${listed([...unknown.keys()])} are not known.`, remedies.join(' '), 'config/unknown-flag');
}

/** May the word after an unknown flag be its value? */
const mayBeValue = (word: string | undefined) => word !== undefined && (!word.startsWith('-') || !Number.isNaN(+word));

/** Is the next word this flag's value? A negative number is; a word that starts like a flag is not. */
function takesNext(flag: Flag, next: string | undefined): boolean {
  if (next === undefined) return false;
  return flag.type === 'boolean' ? next === 'true' || next === 'false' : !next.startsWith('--');
}

function switched(flag: Flag, value: string | undefined, negated: boolean): boolean {
  if (value === undefined) return !negated;
  if (negated || (value !== 'true' && value !== 'false')) {
    throw new UsageRefusal(
      `--${negated ? 'no-' : ''}${flag.name}=${value} is not known.`,
      `Write --${flag.name} or --no-${flag.name}.`,
      'config/switch-with-value',
    );
  }
  return value === 'true';
}

function put(given: Record<string, unknown>, flag: Flag, value: unknown): void {
  const { name, repeated } = flag;
  if (value === undefined || value === '') {
    throw new UsageRefusal(
      `--${name} has no value.`,
      `Give it one: --${name} ${placeholder(flag)}.`,
      'config/no-value',
    );
  }
  if (!repeated && Object.hasOwn(given, name)) {
    throw new UsageRefusal(`--${name} was given more than once.`, 'Give it once.', 'config/flag-twice');
  }
  given[name] = repeated ? [...((given[name] as unknown[] | undefined) ?? []), value] : value;
}

/** Placeholder for a flag's value in a usage line. */
export function placeholder({ type, path }: Flag): string {
  return type === 'number' ? '<number>' : path ? '<path>' : '<text>';
}

/**
 * Assigns the positional arguments to their flags.
 *
 * @throws UsageRefusal for a surplus argument
 */
export function withPositional(stage: StageName, { given, positionals }: Arguments): Record<string, unknown> {
  const names = positionalsOf(stage);
  // The last one takes all remaining words.
  const rest = flagsOf(STAGES[stage]).find((flag) => flag.name === names.at(-1) && flag.repeated);
  const surplus = positionals[names.length];
  if (rest === undefined && surplus !== undefined) {
    throw new UsageRefusal(
      `sae-pipe ${stage} takes no argument "${surplus}".`,
      `See sae-pipe ${stage} --help.`,
      'cli/surplus-argument',
    );
  }
  const named = names.slice(0, positionals.length);
  const twice = named.find((name) => Object.hasOwn(given, name));
  if (twice !== undefined) {
    throw new UsageRefusal(
      `--${twice} was given more than once.`,
      'Give it once, with or without its name.',
      'config/flag-twice',
    );
  }
  const value = (name: string, i: number) => (name === rest?.name ? positionals.slice(i) : positionals[i]);
  return { ...given, ...Object.fromEntries(named.map((name, i) => [name, value(name, i)])) };
}

/** Flags of a command that may be given by position, in order. */
export const positionalsOf = (stage: StageName): readonly string[] => [COMMANDS[stage].positional ?? []].flat();

/** How a flag is written on the command line: `--out`, or `<evaluation>` for one that may be given by position. */
export function spelling(stage: StageName): (name: string) => string {
  return (name) => (positionalsOf(stage).includes(name) ? `<${name}>` : `--${name}`);
}

/** Flags common to all commands. */
export const COMMON: readonly Flag[] = [
  {
    key: 'config',
    name: 'config',
    type: 'string',
    repeated: false,
    required: false,
    path: true,
    commas: false,
    description: 'YAML file with a section for each command, keys named like the flags; flags take precedence',
  },
  {
    key: 'log',
    name: 'log',
    type: 'string',
    repeated: false,
    required: false,
    path: false,
    commas: false,
    choices: LOG_FORMATS,
    default: LOG_FORMATS[0],
    description: 'format of progress and errors on standard error: text, or json (one object per line)',
  },
  {
    key: 'verbose',
    name: 'verbose',
    type: 'boolean',
    repeated: false,
    required: false,
    path: false,
    commas: false,
    description: 'print a stack trace with an error',
  },
];

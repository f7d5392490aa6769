import type { Flag } from '../config/flags.js';
import { UsageRefusal } from '../config/refusal.js';
import type { StageName } from '../config/stages.js';
import { insteadOfFlag } from '../config/suggest.js';
import { COMMANDS } from './commands.js';
import { COMMON } from './common-flags.js';

/** What a command line says, as text; nothing is checked or defaulted, so that a YAML file can stand below it. */
export interface Arguments {
  /** Values by flag name: text, a boolean, or a list where the flag may be repeated. */
  readonly given: Record<string, unknown>;
  /** Words that belong to no flag. */
  readonly positionals: readonly string[];
}

/**
 * Splits a command line: `--flag value`, `--flag=value`, `--switch`, `--no-switch`; after `--`, words only.
 *
 * @throws UsageRefusal for a flag that the command does not have, one without a value, or a single one given twice
 */
export function splitArguments(stage: StageName, flags: readonly Flag[], args: readonly string[]): Arguments {
  const byName = new Map([...flags, ...COMMON].map((flag) => [flag.name, flag]));
  const given: Record<string, unknown> = {};
  const positionals: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === '--') {
      positionals.push(...args.slice(i + 1));
      break;
    }
    // A single dash is standard input or output.
    if (!arg.startsWith('-') || arg === '-') {
      positionals.push(arg);
      continue;
    }
    const equals = arg.indexOf('=');
    const name = equals < 0 ? arg : arg.slice(0, equals);
    const { flag, negated } = flagNamed(stage, name, byName);
    let value = equals < 0 ? undefined : arg.slice(equals + 1);
    if (value === undefined && !negated && takesNext(flag, args[i + 1])) value = args[++i];
    put(given, flag, flag.type === 'boolean' ? switched(flag, value, negated) : value);
  }
  return { given, positionals };
}

function flagNamed(
  stage: StageName,
  written: string,
  byName: ReadonlyMap<string, Flag>,
): { flag: Flag; negated: boolean } {
  const name = written.replace(/^--?/, '');
  const flag = byName.get(name);
  if (flag && written.startsWith('--')) return { flag, negated: false };
  const positive = written.startsWith('--no-') ? byName.get(name.slice('no-'.length)) : undefined;
  if (positive?.type === 'boolean') return { flag: positive, negated: true };
  if (positive) throw new UsageRefusal(`${written} is not known: --${positive.name} takes a value.`, 'Leave it out.');
  const remedy = flag ? `Did you mean --${name}?` : insteadOfFlag(stage, name, (near) => `--${near}`);
  throw new UsageRefusal(`${written} is not known.`, remedy);
}

/** Is the next word this flag's value? A number may be negative; what looks like a flag is one. */
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
    );
  }
  return value === 'true';
}

function put(given: Record<string, unknown>, flag: Flag, value: unknown): void {
  const { name, repeated } = flag;
  if (value === undefined || value === '') {
    throw new UsageRefusal(`--${name} has no value.`, `Give it one: --${name} ${placeholder(flag)}.`);
  }
  if (!repeated && Object.hasOwn(given, name)) {
    throw new UsageRefusal(`--${name} was given more than once.`, 'Give it once.');
  }
  given[name] = repeated ? [...((given[name] as unknown[] | undefined) ?? []), value] : value;
}

/** What stands for a flag's value in a usage line. */
export function placeholder({ type, path }: Flag): string {
  return type === 'number' ? '<number>' : path ? '<path>' : '<text>';
}

/**
 * The positional argument as the flag that it stands for.
 *
 * @throws UsageRefusal for a word that the command does not take
 */
export function withPositional(stage: StageName, { given, positionals }: Arguments): Record<string, unknown> {
  const { positional } = COMMANDS[stage];
  const [first, ...others] = positionals;
  const surplus = positional === undefined ? first : others[0];
  if (surplus !== undefined) {
    throw new UsageRefusal(`sae-pipe ${stage} takes no argument "${surplus}".`, `See sae-pipe ${stage} --help.`);
  }
  if (positional === undefined || first === undefined) return given;
  if (Object.hasOwn(given, positional)) {
    throw new UsageRefusal(`--${positional} was given more than once.`, 'Give it once, with or without its name.');
  }
  return { ...given, [positional]: first };
}

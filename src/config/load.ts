import type { z } from 'zod';
import { didYouMean } from '../errors/nearest.js';
import { UsageRefusal } from '../errors/refusal.js';
import { section } from './config-file.js';
import { type Flag, flagsOf, structuredKeys } from './flags.js';
import { RECIPES, type RecipeName } from './recipes.js';
import { STAGES, type StageName } from './stages.js';
import { insteadOfFlag, listed } from './suggest.js';
import { NUMBER_FORMS, parseNumber } from './values.js';

/** A value as the user wrote it, and where. */
interface Written {
  readonly value: unknown;
  readonly where: string;
}

/**
 * Configuration of a stage: its section of the YAML file, overridden by the command line, validated and with defaults
 * filled in.
 *
 * @param given values from the command line, by flag name; only those the user wrote
 * @param file a YAML file with a section for each stage, keys named like the flags
 * @param recorded values of the run being resumed, by flag name; overridden by all others
 * @param spelled how a flag is written on the command line
 * @throws UsageRefusal for an unknown key or an invalid value, naming it
 */
export function loadConfig<S extends StageName>(
  stage: S,
  given: Readonly<Record<string, unknown>>,
  file?: string,
  recorded: Readonly<Record<string, unknown>> = {},
  spelled = (name: string) => `--${name}`,
): z.infer<(typeof STAGES)[S]> {
  const written = new Map<string, Written>();
  take(stage, recorded, (name) => `--${name} of the run that is resumed`, written);
  if (file !== undefined) {
    const fromFile = withoutRivals(section(file, stage), stage, given);
    take(stage, fromFile, (name) => `${file}, ${stage}.${name}`, written);
  }
  take(stage, given, spelled, written);
  takeRecipe(stage, written);
  const schema: z.ZodObject = STAGES[stage];
  const flags = new Map(flagsOf(schema).map((flag) => [flag.key, flag]));
  const values = [...written].map(([key, { value }]) => [key, typedValue(flags.get(key), value)] as const);
  const parsed = schema.safeParse(Object.fromEntries(values));
  if (parsed.success) return parsed.data as z.infer<(typeof STAGES)[S]>;
  throw refusalOf(stage, parsed.error.issues, flags, written, spelled);
}

/** Merges the values of one source into `written`, by schema key; later sources override earlier ones. */
function take(
  stage: StageName,
  source: Readonly<Record<string, unknown>>,
  label: (name: string) => string,
  written: Map<string, Written>,
): void {
  const schema: z.ZodObject = STAGES[stage];
  const structured = structuredKeys(schema);
  const flags = new Map(flagsOf(schema).map((flag) => [flag.name, flag]));
  for (const [name, value] of Object.entries(source)) {
    const where = label(name);
    const flag = flags.get(name);
    if (flag === undefined && !structured.includes(name)) {
      throw new UsageRefusal(`${where} is not known.`, insteadOfFlag(stage, name, label), 'config/unknown-flag');
    }
    if (Array.isArray(value) && flag?.repeated === false) {
      throw new UsageRefusal(`${where} was given more than once.`, 'Give one value.', 'config/flag-twice');
    }
    if ([value].flat().some((one) => typeof one === 'string' && one.includes('\0'))) {
      throw new UsageRefusal(`${where} contains a NUL character.`, 'Remove it.', 'config/nul-character');
    }
    written.set(flag?.key ?? name, { value, where });
  }
}

/** The flags set by a recipe, as defaults below all others. Unknown recipe names are left to the schema. */
function takeRecipe(stage: StageName, written: Map<string, Written>): void {
  const name = written.get('recipe')?.value;
  if (stage !== 'train' || typeof name !== 'string' || !Object.hasOwn(RECIPES, name)) return;
  const set = new Map<string, Written>();
  take(stage, RECIPES[name as RecipeName].flags, (flag) => `--${flag} of --recipe ${name}`, set);
  for (const [key, value] of set) if (!written.has(key)) written.set(key, value);
}

/** A value converted to its flag's type where possible: numbers may be written 1M, lists with commas. */
function typedValue(flag: Flag | undefined, value: unknown): unknown {
  if (flag === undefined) return value;
  if (flag.repeated) return listOf(flag, value);
  return flag.type === 'number' ? numberOf(value) : asText(flag, value);
}

/** YAML parses `checkpoint-every: 1000` as a number, but the flag is a string. */
function asText({ type }: Flag, value: unknown): unknown {
  return type === 'string' && typeof value === 'number' ? String(value) : value;
}

/** Not a number: returned unchanged, for the schema to refuse. */
function numberOf(value: unknown): unknown {
  return typeof value === 'string' ? (parseNumber(value) ?? value) : value;
}

/** Values of a repeatable flag. If none contains a comma as part of itself, they may also be separated by commas. */
function listOf(flag: Flag, value: unknown): unknown[] {
  const values = [value].flat();
  if (!flag.commas) return values.map((one) => asText(flag, one));
  const parts = values.flatMap((one) => (typeof one === 'string' ? one.split(',').map((part) => part.trim()) : [one]));
  return flag.type === 'number' ? parts.map(numberOf) : parts;
}

function refusalOf(
  stage: StageName,
  issues: readonly z.core.$ZodIssue[],
  flags: ReadonlyMap<string, Flag>,
  written: ReadonlyMap<string, Written>,
  spelled: (name: string) => string,
): UsageRefusal {
  const wrong = issues.find(({ path }) => written.has(String(path[0])));
  if (wrong === undefined) return missing(stage, issues, flags, spelled);
  const key = String(wrong.path[0]);
  const { where, value } = written.get(key)!;
  const flag = flags.get(key);
  if (flag === undefined) {
    return new UsageRefusal(
      key === 'runs' ? `${where} is not a list of mappings.` : `${where} is not a mapping of mappings.`,
      key === 'runs'
        ? 'See configs/sweep-tiny.yaml for an example.'
        : 'Write a key for each, and its settings below it.',
      'config/wrong-runs',
    );
  }
  const element = wrong.path.length > 1 ? listOf(flag, value)[Number(wrong.path[1])] : value;
  const { message, remedy } = wrongValue(wrong, flag, where, element, stage);
  return new UsageRefusal(message, remedy, 'config/wrong-value');
}

/** Reports all missing required flags at once. */
function missing(
  stage: StageName,
  issues: readonly z.core.$ZodIssue[],
  flags: ReadonlyMap<string, Flag>,
  spelled: (name: string) => string,
): UsageRefusal {
  const lacking = issues.flatMap(({ path }) => flags.get(String(path[0])) ?? []);
  const help = `See sae-pipe ${stage} --help.`;
  // A constraint across several flags.
  if (lacking.length === 0)
    return new UsageRefusal(`sae-pipe ${stage}: ${issues[0]!.message}.`, help, 'config/wrong-together');
  if (lacking.length === 1) {
    return new UsageRefusal(
      `${spelled(lacking[0]!.name)} is missing: ${lacking[0]!.description}.`,
      help,
      'config/missing-flag',
    );
  }
  return new UsageRefusal(
    `${listed(lacking.map(({ name }) => spelled(name)))} are missing.`,
    help,
    'config/missing-flag',
  );
}

/** Flags that are alternatives to each other: one on the command line overrides the other in the file. */
const RIVALS: Partial<Record<StageName, readonly (readonly [string, string])[]>> = {
  train: [
    ['steps', 'tokens'],
    ['tokens', 'steps'],
    ...['model', 'revision', 'corpus', 'hook', 'hook-out', 'context', 'model-device'].map(
      (of) => ['activations', of] as const,
    ),
    ['model', 'activations'],
    ['model', 'target'],
  ],
};

/** `values` without those whose alternative is in `given`. */
export function withoutRivals(
  values: Record<string, unknown>,
  stage: StageName,
  given: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const rest = { ...values };
  for (const [flag, rival] of RIVALS[stage] ?? []) if (flag in given) delete rest[rival];
  return rest;
}

type Issue = z.core.$ZodIssue;

/** Cause and remedy. */
interface Sentences {
  readonly message: string;
  readonly remedy: string;
}

/**
 * What is wrong with a value, and how to fix it.
 *
 * @param issue what the schema found
 * @param where location of the value: `--tokens`, or `runs.yaml, train.tokens`
 * @param written the value as the user wrote it
 */
function wrongValue(issue: Issue, flag: Flag, where: string, written: unknown, stage: string): Sentences {
  const help = `Help: ${flag.description.split(/[;[(]/)[0]!.trim()}; more with sae-pipe ${stage} --help.`;
  const value = shown(written);
  const is = (message: string, remedy = help): Sentences => ({ message: `${where}: ${value} ${message}.`, remedy });
  if (issue.code === 'invalid_value') {
    const choices = issue.values.map(String);
    const near = typeof written === 'string' ? didYouMean(written, choices) : undefined;
    return is(`is not one of ${listed(choices, 'or')}`, near);
  }
  if (issue.code === 'invalid_type') {
    if (issue.expected === 'int') return is('is not an integer');
    if (issue.expected === 'number') return is('is not a number', `Write it like ${NUMBER_FORMS}.`);
    if (issue.expected === 'boolean') return is('is neither true nor false', 'Write true or false.');
    return is('is not a string', 'Write one value, in quotes if need be.');
  }
  if (issue.code === 'too_small' || issue.code === 'too_big') {
    if (issue.origin === 'array') return { message: `${where} has no value.`, remedy: help };
    if (issue.origin === 'string') return { message: `${where} is empty.`, remedy: help };
    return is(`is too ${issue.code === 'too_small' ? 'small' : 'large'}; ${boundOf(issue)}`);
  }
  return { message: `${where}: ${value} does not fit; ${issue.message}.`, remedy: help };
}

/** The bound that a number breaks. */
function boundOf(issue: Extract<Issue, { code: 'too_small' | 'too_big' }>): string {
  if (issue.code === 'too_small')
    return issue.inclusive ? `the minimum is ${issue.minimum}` : `it must be above ${issue.minimum}`;
  return issue.inclusive ? `the maximum is ${issue.maximum}` : `it must be below ${issue.maximum}`;
}

/** Longer strings are truncated in messages. */
const LONGEST_QUOTE = 60;

/** A value as it appears in a message, whatever the file contains. */
function shown(value: unknown): string {
  if (typeof value === 'string')
    return JSON.stringify(value.length > LONGEST_QUOTE ? `${value.slice(0, LONGEST_QUOTE)}…` : value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (value === null || value === undefined) return 'nothing';
  return Array.isArray(value) ? 'a list' : 'a mapping';
}

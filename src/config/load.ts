import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { z } from 'zod';
import { type Flag, flagsOf, structuredKeys } from './flags.js';
import { nearest } from './nearest.js';
import { UsageRefusal } from './refusal.js';
import { STAGES, type StageName } from './stages.js';

/**
 * Configuration of a stage: its section of the YAML file, overridden by the command line, checked and filled with
 * defaults.
 *
 * @param given values from the command line, by flag name; only those the user wrote
 * @param file a YAML file with one section a stage, keys named like the flags
 * @throws UsageRefusal for an unknown key or a value that does not fit, naming it
 */
export function loadConfig<S extends StageName>(
  stage: S,
  given: Readonly<Record<string, unknown>>,
  file?: string,
): z.infer<(typeof STAGES)[S]> {
  const schema: z.ZodObject = STAGES[stage];
  const flags = flagsOf(schema);
  const structured = structuredKeys(schema);
  const values: Record<string, unknown> = {};
  const origin = new Map<string, string>();
  const take = (source: Readonly<Record<string, unknown>>, label: (name: string) => string) => {
    for (const [name, value] of Object.entries(source)) {
      if (structured.includes(name)) {
        values[name] = value;
        origin.set(name, label(name));
        continue;
      }
      const flag = flags.find((candidate) => candidate.name === name);
      if (!flag)
        throw unknownKey(
          label(name),
          name,
          flags.map((candidate) => candidate.name),
          label,
        );
      if (Array.isArray(value) && !flag.repeated) {
        throw new UsageRefusal(`${label(name)} was given more than once.`, 'Give one value.');
      }
      values[flag.key] = flag.repeated ? listed(flag, value) : asWritten(flag, value);
      origin.set(flag.key, label(name));
    }
  };
  if (file !== undefined)
    take(withoutRivals(section(file, stage), stage, given), (name) => `${file}, ${stage}.${name}`);
  take(given, (name) => `--${name}`);
  const parsed = schema.safeParse(values);
  if (parsed.success) return parsed.data as z.infer<(typeof STAGES)[S]>;
  const issue = parsed.error.issues[0]!;
  const key = String(issue.path[0] ?? '');
  const flag = flags.find((candidate) => candidate.key === key);
  if (flag && !origin.has(key) && (issue.code === 'invalid_type' || issue.code === 'invalid_value')) {
    throw new UsageRefusal(`--${flag.name} is missing: ${flag.description}.`, `See sae-pipe ${stage} --help.`);
  }
  const name = origin.get(key) ?? (flag ? `--${flag.name}` : `sae-pipe ${stage}`);
  throw new UsageRefusal(`${name}: ${issue.message}.`, `See sae-pipe ${stage} --help.`);
}

/** YAML reads `checkpoint-every: 1000` as a number where the flag is a text. */
function asWritten({ type }: Flag, value: unknown): unknown {
  return type === 'string' && typeof value === 'number' ? String(value) : value;
}

/** Values of a flag that may be repeated. Choices and numbers may also be separated by commas, which none contains. */
function listed({ choices, type }: Flag, value: unknown): unknown[] {
  const values = [value].flat();
  if (!choices && type !== 'number') return values;
  const parts = values.flatMap((one) => (typeof one === 'string' ? one.split(',').map((part) => part.trim()) : [one]));
  return type === 'number' ? parts.map((part) => (part === '' ? Number.NaN : Number(part))) : parts;
}

/** Flags that say the same thing in two ways: where the command line gives one, the file's other is not meant. */
const RIVALS: Partial<Record<StageName, readonly (readonly [string, string])[]>> = {
  train: [
    ['steps', 'tokens'],
    ['tokens', 'steps'],
    ...['model', 'revision', 'corpus', 'hook', 'context', 'model-device'].map((of) => ['activations', of] as const),
    ['model', 'activations'],
  ],
};

function withoutRivals(
  values: Record<string, unknown>,
  stage: StageName,
  given: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const rest = { ...values };
  for (const [flag, rival] of RIVALS[stage] ?? []) if (flag in given) delete rest[rival];
  return rest;
}

/** The section of a stage as the file has it, unchecked; empty where there is none. */
export function section(file: string, stage: StageName): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new UsageRefusal(
      `The configuration file ${file} could not be read (${(cause as NodeJS.ErrnoException).code}).`,
      'Check the path and its permissions.',
    );
  }
  let document: unknown;
  try {
    // Loaded only where a file is given: `--help` must be quick.
    const { parseDocument } = createRequire(import.meta.url)('yaml') as typeof import('yaml');
    const parsed = parseDocument(text);
    // What yaml only warns of (a tag that it does not know) would be read as something else than is meant.
    const [wrong] = [...parsed.errors, ...parsed.warnings];
    if (wrong) throw wrong;
    document = parsed.toJS();
  } catch (cause) {
    const line = (cause as Error).message.split('\n')[0];
    throw new UsageRefusal(`${file} is not YAML: ${line}`, 'Mend it; configs/ has examples.');
  }
  if (document === null || typeof document !== 'object' || Array.isArray(document)) {
    throw new UsageRefusal(
      `${file} has no sections.`,
      `Give each stage a section: "${stage}:", with the flags as keys.`,
    );
  }
  const stages = Object.keys(STAGES);
  for (const name of Object.keys(document)) {
    if (!stages.includes(name)) throw unknownKey(`${file}, ${name}`, name, stages, (near) => near);
  }
  const found = (document as Record<string, unknown>)[stage] ?? {};
  if (typeof found !== 'object' || Array.isArray(found)) {
    throw new UsageRefusal(
      `${file}: the section "${stage}" is not a mapping of flags to values.`,
      'Write a line for each flag: "name: value".',
    );
  }
  return found as Record<string, unknown>;
}

function unknownKey(
  what: string,
  name: string,
  names: readonly string[],
  label: (name: string) => string,
): UsageRefusal {
  return new UsageRefusal(`${what} is not known.`, `Did you mean ${label(nearest(name, names, 1)[0]!)}?`);
}

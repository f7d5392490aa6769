import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { packagedFile } from '../disk/input-file.js';

/** Flag name (also the YAML key) of a configuration key: dSae → d-sae. */
export function flagName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Key of a `train` flag in the training record: dSae → d_sae. */
export function recordName(key: string): string {
  return flagName(key).replaceAll('-', '_');
}

/** What the command line and the help need to know about a flag. */
export interface Flag {
  /** Key in the schema. */
  readonly key: string;
  readonly name: string;
  /** Alternative name on the command line. */
  readonly also?: string;
  readonly type: 'string' | 'number' | 'boolean';
  /** May be given several times. */
  readonly repeated: boolean;
  /** Required; has no default. */
  readonly required: boolean;
  /** Its value is, or may be, the path of a file or directory. */
  readonly path: boolean;
  /** Takes several values in one word, separated by commas. */
  readonly commas: boolean;
  readonly choices?: readonly string[];
  readonly description: string;
  readonly default?: unknown;
}

interface Property {
  type?: string;
  enum?: string[];
  items?: Property;
  /** Value type of a mapping. */
  additionalProperties?: Property | boolean;
  description?: string;
  default?: unknown;
  path?: boolean;
  commas?: boolean;
  also?: string;
}

interface Properties {
  properties?: Record<string, Property>;
  required?: string[];
}

const jsonSchemas = new WeakMap<z.ZodObject, Properties>();

function jsonSchemaOf(schema: z.ZodObject): Properties {
  let properties = jsonSchemas.get(schema);
  if (!properties) {
    properties = z.toJSONSchema(schema, { io: 'input' }) as Properties;
    jsonSchemas.set(schema, properties);
  }
  return properties;
}

/** Keys of a stage that can only be given in a configuration file: mappings and lists of mappings. */
export function structuredKeys(schema: z.ZodObject): string[] {
  return Object.entries(jsonSchemaOf(schema).properties ?? {}).flatMap(
    ([key, { items, additionalProperties: values }]) =>
      items?.type === 'object' || (typeof values === 'object' && values.type === 'object') ? [key] : [],
  );
}

/** The flags of a stage, derived from its schema: the single source of each flag's name, type, default and help. */
export function flagsOf(schema: z.ZodObject): Flag[] {
  const structured = structuredKeys(schema);
  const { properties = {}, required = [] } = jsonSchemaOf(schema);
  const simple = Object.entries(properties).filter(([key]) => !structured.includes(key));
  return simple.map(([key, property]) => {
    const element = property.items ?? property;
    const type = element.type === 'integer' ? 'number' : element.type;
    if (type !== 'string' && type !== 'number' && type !== 'boolean')
      throw new Error(`flag ${key} is not a string, number or boolean`);
    const repeated = property.items !== undefined;
    return {
      key,
      name: flagName(key),
      type,
      repeated,
      required: required.includes(key),
      path: element.path === true || property.path === true,
      commas: repeated && (type === 'number' || element.enum !== undefined || property.commas === true),
      ...(property.also !== undefined && { also: property.also }),
      choices: element.enum,
      description: (property.description ?? '') + (property.also === undefined ? '' : ` (also --${property.also})`),
      default: property.default,
    };
  });
}

/** A command as given; paths in it are relative to the directory it was run in. */
export const givenCommand = z.object({
  /** Absolute. */
  directory: z.string(),
  /** The arguments after the command's name, without --out and --overwrite. */
  words: z.array(z.string()),
});
export type GivenCommand = z.infer<typeof givenCommand>;

/** The complete command that made an SAE. For `train`, its --out is the SAE's directory. */
export const trainingCommandSchema = z.object({ stage: z.enum(['train', 'sweep']), ...givenCommand.shape });
export type TrainingCommand = z.infer<typeof trainingCommandSchema>;

/** Flags not repeated in a command: those for the output location, and --recipe, whose settings are written out. */
const NOT_REPEATED = ['out', 'overwrite', 'resume', 'takeOver', 'recipe', 'logDir', 'until', 'shard'];

/**
 * The flags that reproduce a stage's configuration, wherever its values came from: the command line, a file or another
 * stage. Omits --out and flags at their default.
 */
export function commandWords(schema: z.ZodObject, config: Readonly<Record<string, unknown>>): string[] {
  return flagsOf(schema).flatMap(({ key, name, default: usual }) => {
    const value = config[key];
    if (value === undefined || value === null || value === usual || NOT_REPEATED.includes(key)) return [];
    if (value === false) return [`--no-${name}`];
    if (value === true) return [`--${name}`];
    return [value]
      .flat()
      .map(String)
      .flatMap((one) => (one.startsWith('-') ? [`--${name}=${one}`] : [`--${name}`, one]));
  });
}

/** Would another shell find this path too? False for standard input and a shell's own pipes (/dev/fd). */
export function isLasting(path: string): boolean {
  return path !== '-' && !/^\/(dev|proc)\//.test(path);
}

/** The package version, from package.json. */
export function version(): string {
  return (JSON.parse(readFileSync(packagedFile('package.json'), 'utf8')) as { version: string }).version;
}

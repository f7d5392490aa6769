import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { packagedFile } from '../disk/input-file.js';

/** Flag, and YAML key, of a configuration key: dSae → d-sae. */
export function flagName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Key under which a training record has the value of a flag of `train`: dSae → d_sae. */
export function recordName(key: string): string {
  return flagName(key).replaceAll('-', '_');
}

/** What the command line and the help need to know of one flag. */
export interface Flag {
  /** Key in the schema. */
  readonly key: string;
  readonly name: string;
  /** Another name that it has on the command line. */
  readonly also?: string;
  readonly type: 'string' | 'number' | 'boolean';
  /** May be given several times. */
  readonly repeated: boolean;
  /** Has no default and may not be left out. */
  readonly required: boolean;
  /** Its value is the path of a file or directory, or may be one. */
  readonly path: boolean;
  /** Several values may stand in one word, separated by commas. */
  readonly commas: boolean;
  readonly choices?: readonly string[];
  readonly description: string;
  readonly default?: unknown;
}

interface Property {
  type?: string;
  enum?: string[];
  items?: Property;
  /** Of a mapping. */
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

/** Keys of a stage that only a configuration file can hold: mappings, and lists of them. */
export function structuredKeys(schema: z.ZodObject): string[] {
  return Object.entries(jsonSchemaOf(schema).properties ?? {}).flatMap(
    ([key, { items, additionalProperties: values }]) =>
      items?.type === 'object' || (typeof values === 'object' && values.type === 'object') ? [key] : [],
  );
}

/** The flags of a stage, from its schema: one place says name, type, default and help of each. */
export function flagsOf(schema: z.ZodObject): Flag[] {
  const structured = structuredKeys(schema);
  const { properties = {}, required = [] } = jsonSchemaOf(schema);
  const simple = Object.entries(properties).filter(([key]) => !structured.includes(key));
  return simple.map(([key, property]) => {
    const element = property.items ?? property;
    const type = element.type === 'integer' ? 'number' : element.type;
    if (type !== 'string' && type !== 'number' && type !== 'boolean') throw new Error(`flag ${key} has no simple type`);
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

/** A command as it was given: paths in it are seen from the directory that it was given in. */
export const givenCommand = z.object({
  /** Absolute. */
  directory: z.string(),
  /** What followed the command's name, but --out and --overwrite. */
  words: z.array(z.string()),
});
export type GivenCommand = z.infer<typeof givenCommand>;

/** The command that made an SAE, whole; where it is one SAE's, the SAE is its --out. */
export const trainingCommandSchema = z.object({ stage: z.enum(['train', 'sweep']), ...givenCommand.shape });
export type TrainingCommand = z.infer<typeof trainingCommandSchema>;

/** Flags that say where a result goes, not what it is; and a recipe, whose settings are repeated one by one. */
const NOT_REPEATED = ['out', 'overwrite', 'resume', 'takeOver', 'recipe', 'logDir', 'until', 'shard'];

/**
 * The flags that give a stage this configuration, wherever its values came from: the command line, a file, or another
 * stage. Those that have their default are left out, and so is --out.
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

/** Is this path one that another shell finds too? Standard input and a shell's own pipes are not. */
export function isLasting(path: string): boolean {
  return path !== '-' && !/^\/(dev|proc)\//.test(path);
}

/** Version of this program, from its package.json. */
export function version(): string {
  return (JSON.parse(readFileSync(packagedFile('package.json'), 'utf8')) as { version: string }).version;
}

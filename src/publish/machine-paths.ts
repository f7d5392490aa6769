import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { isModelId } from '../hub/cache.js';

/** A path from a root, a home directory, a drive or this directory: it tells of a machine. */
const OF_A_MACHINE = /^(\/|~|\.{1,2}[/\\]|[A-Za-z]:[/\\]|file:)/;

/** What a path of a machine, or each of a mixture's, is called elsewhere: its last part. Any other text stays as it is. */
export const publicName = (text: string): string => text.split(' + ').map(lastPart).join(' + ');

const lastPart = (text: string) => (OF_A_MACHINE.test(text) ? basename(text.replaceAll('\\', '/')) || 'root' : text);

/** A JSON value in which no text is a path of a machine. */
export function withoutMachinePaths(value: unknown): unknown {
  if (typeof value === 'string') return publicName(value);
  if (Array.isArray(value)) return value.map(withoutMachinePaths);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutMachinePaths(inner)]));
}

/** A model's name as one of the hub; undefined where it is a directory here, or no such name. */
export const hubModel = (name: string | undefined): string | undefined =>
  name !== undefined && isModelId(name) && !existsSync(name) ? name : undefined;

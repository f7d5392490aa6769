import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { isModelId } from '../hub/cache.js';

/** A path from a root, a home directory, a drive or the current directory, which is specific to a machine. */
const OF_A_MACHINE = /^(\/|~|\.{1,2}[/\\]|[A-Za-z]:[/\\]|file:)/;

/** Public name of a local path, or of each path of a mixture: its last component. Other text is unchanged. */
export const publicName = (text: string): string => text.split(' + ').map(lastPart).join(' + ');

const lastPart = (text: string) => (OF_A_MACHINE.test(text) ? basename(text.replaceAll('\\', '/')) || 'root' : text);

/** A JSON value without local paths. */
export function withoutMachinePaths(value: unknown): unknown {
  if (typeof value === 'string') return publicName(value);
  if (Array.isArray(value)) return value.map(withoutMachinePaths);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutMachinePaths(inner)]));
}

/** A model's name on the hub; undefined if it is a local directory, or not a valid name. */
export const hubModel = (name: string | undefined): string | undefined =>
  name !== undefined && isModelId(name) && !existsSync(name) ? name : undefined;

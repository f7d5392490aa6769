import type { z } from 'zod';
import { checkJson, readJsonFile } from '../../disk/json.js';
import { Refusal } from '../../errors/refusal.js';

/** Max bytes of a configuration. */
const MOST = 2 ** 20;

const AGAIN = 'Download the SAE again; configuration and weights must be of one SAE.';

/** Reads a JSON configuration. @throws Refusal naming file and key */
export async function readConfig<S extends z.ZodType>(schema: S, path: string): Promise<z.output<S>> {
  const json = await readJsonFile(path, [`${path} does not exist.`, AGAIN], AGAIN, MOST);
  return checkJson(schema, json, path, AGAIN);
}

/** @throws Refusal if configuration and weights disagree on a size */
export function checkAgrees(path: string, what: string, said: number | undefined, found: number): void {
  if (said === undefined || said === found) return;
  throw new Refusal(
    `${path}: ${what} is ${said}, but the weights have ${found}.`,
    'Download configuration and weights of one SAE.',
    'sae/contradiction',
  );
}

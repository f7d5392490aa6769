import type { z } from 'zod';
import { checkJson, readJsonFile } from '../../disk/json.js';
import { Refusal } from '../../errors/refusal.js';

/** Bytes of a configuration, at most. */
const MOST = 2 ** 20;

const AGAIN = 'Download the SAE again; configuration and weights must be of one SAE.';

/** A JSON configuration as its schema has it. @throws Refusal naming file and key */
export async function readConfig<S extends z.ZodType>(schema: S, path: string): Promise<z.output<S>> {
  const json = await readJsonFile(path, [`There is no file ${path}.`, AGAIN], AGAIN, MOST);
  return checkJson(schema, json, path, AGAIN);
}

/** @throws Refusal where a configuration says one size and the weights another */
export function checkAgrees(path: string, what: string, said: number | undefined, found: number): void {
  if (said === undefined || said === found) return;
  throw new Refusal(
    `${path}: ${what} is ${said}, and the weights have ${found}.`,
    'Download configuration and weights of one SAE.',
    'sae/contradiction',
  );
}

import type { z } from 'zod';
import { flagName } from '../config/flags.js';
import { loadConfig } from '../config/load.js';
import type { STAGES, StageName } from '../config/stages.js';

/** Options by the names of flags: dSae → d-sae. What is undefined is not given. */
export function flagsGiven(options: object): Record<string, unknown> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([key, value]) => [flagName(key), value]));
}

/**
 * The configuration of a stage, with its defaults. Numbers and lists may be written as on the command line.
 *
 * @throws UsageRefusal for an option that does not exist, or a value that does not fit, naming it
 */
export function configFromOptions<S extends StageName>(stage: S, options: object): z.infer<(typeof STAGES)[S]> {
  return loadConfig(stage, flagsGiven(options), undefined, {}, optionName);
}

/** d-sae → dSae */
const optionName = (flag: string) => flag.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

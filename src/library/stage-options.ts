import type { z } from 'zod';
import { flagName } from '../config/flags.js';
import { loadConfig } from '../config/load.js';
import type { STAGES, StageName } from '../config/stages.js';
import { didYouMean } from '../errors/nearest.js';
import { UsageRefusal } from '../errors/refusal.js';

/** Options by flag name: dSae → d-sae. Undefined ones are not given. */
export function flagsGiven(options: object): Record<string, unknown> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([key, value]) => [flagName(key), value]));
}

/**
 * The configuration of a stage, with its defaults. Numbers and lists may be written as on the command line.
 *
 * @param named options whose names differ from their flags, by flag
 * @throws UsageRefusal for an unknown option or an invalid value, naming it
 */
export function configFromOptions<S extends StageName>(
  stage: S,
  options: object,
  named: Readonly<Record<string, string>> = {},
): z.infer<(typeof STAGES)[S]> {
  return loadConfig(stage, flagsGiven(options), undefined, {}, (flag) => named[flag] ?? optionName(flag));
}

/**
 * Checks an option that is not a flag of a command.
 *
 * @throws UsageRefusal if it is not an integer, or less than `least`
 */
export function checkWhole(option: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new UsageRefusal(
    `${option}: ${value} is not an integer of at least ${least}.`,
    'Give one, or omit it.',
    'config/wrong-value',
  );
}

/** @throws UsageRefusal if it is not a string; `what` names the argument */
export function checkText(what: string, text: string): void {
  if (typeof text === 'string') return;
  throw new UsageRefusal(`${what} is not a string.`, 'Give the text, not its tokens.', 'config/wrong-value');
}

/**
 * Checks the names of options that are not all flags of a command: one that is not known would do nothing.
 *
 * @param known every option that there is
 * @throws UsageRefusal naming one that is not among them
 */
export function checkOptionNames(options: object, known: Readonly<Record<string, true>>): void {
  const names = Object.keys(known);
  const wrong = Object.keys(options).find((name) => !(name in known));
  if (wrong === undefined) return;
  throw new UsageRefusal(
    `${wrong} is not an option here.`,
    didYouMean(wrong, names) ?? `The options are ${names.join(', ')}.`,
    'config/unknown-flag',
  );
}

/** d-sae → dSae */
const optionName = (flag: string) => flag.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

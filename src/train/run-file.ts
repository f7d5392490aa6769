import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { flagsOf } from '../config/flags.js';
import { type TrainConfig, trainSchema } from '../config/stages.js';
import { exists } from '../disk/exists.js';
import { checkJson, readJsonFile } from '../disk/json-file.js';
import { writeAside } from '../disk/write-aside.js';

/**
 * Name of the file that says what a run is: the metadata that its cfg.json will have, without results, and the flags
 * that it was begun with. It exists from before the first line of metrics.jsonl; beside a finished SAE it stays with the
 * state from which the run can be trained further.
 */
export const RUN_FILE = 'run.json';

/** Flags of a command, not of the run. */
const OF_COMMAND = ['out', 'overwrite', 'resume', 'takeOver', 'strict'];

/** What run.json says of the command that began the run. */
export const recorded = z.object({ flags: z.record(z.string(), z.unknown()), directory: z.string() });

const BROKEN = 'Remove it, and give all flags of the run with --resume.';

export function writeRunFile(
  directory: string,
  metadata: Readonly<Record<string, unknown>>,
  config: TrainConfig,
): Promise<void> {
  const flags = flagsOf(trainSchema).flatMap(({ key, name }) => {
    const value = config[key as keyof TrainConfig];
    return value === undefined || OF_COMMAND.includes(key) ? [] : [[name, value] as const];
  });
  const content = { ...metadata, flags: Object.fromEntries(flags), directory: process.cwd() };
  return writeAside(join(directory, RUN_FILE), `${JSON.stringify(content, null, 2)}\n`);
}

/**
 * The flags that a run was begun with, by name; undefined where there is no run.json, or it is of another program. Paths
 * that were relative to another working directory are made absolute.
 *
 * @throws Refusal where it is broken
 */
export async function readRunFlags(directory: string): Promise<Record<string, unknown> | undefined> {
  const path = join(directory, RUN_FILE);
  if (!(await exists(path))) return undefined;
  const json = await readJsonFile(path, [`${path} does not exist.`, BROKEN], BROKEN);
  if (typeof json !== 'object' || json === null || !('flags' in json)) return undefined;
  const { flags, directory: from } = checkJson(recorded, json, path, BROKEN);
  if (from === process.cwd()) return flags;
  const paths = flagsOf(trainSchema).filter((flag) => flag.path && typeof flags[flag.name] === 'string');
  return Object.fromEntries(
    Object.entries(flags).map(([name, value]) => {
      const path = paths.some((flag) => flag.name === name) ? resolve(from, String(value)) : '';
      // An id of the hub and standard input are no paths.
      return [name, path !== '' && existsSync(path) ? path : value];
    }),
  );
}

/** To be called when cfg.json is there, and nothing is kept to train further from. */
export function removeRunFile(directory: string): Promise<void> {
  return rm(join(directory, RUN_FILE), { force: true });
}

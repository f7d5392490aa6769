import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { exists } from '../disk/input-file.js';
import { checkJson, readJsonFile } from '../disk/json.js';
import { writeAside } from '../disk/output-file.js';
import { commandWords, flagsOf, isLasting, type TrainingCommand } from './flags.js';
import { loadConfig } from './load.js';
import { type TrainConfig, trainSchema } from './stages.js';

/**
 * Name of the file that says what a run is: the metadata that its cfg.json will have, without results, and the flags
 * that it was begun with. It exists from before the first line of metrics.jsonl; beside a finished SAE it stays with the
 * state from which the run can be trained further.
 */
export const RUN_FILE = 'run.json';

/** Flags of a command, not of the run. */
const OF_COMMAND = ['out', 'overwrite', 'resume', 'takeOver', 'strict'];

/** What run.json says of the command that began the run. */
export const runCommandSchema = z.object({ flags: z.record(z.string(), z.unknown()), directory: z.string() });

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
  const { flags, directory: from } = checkJson(runCommandSchema, json, path, BROKEN);
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

/** Bytes of run.json, at most. */
const LARGEST_RUN_FILE = 1 << 20;

const runFile = runCommandSchema.extend({ sae_pipe: z.record(z.string(), z.unknown()) });

/** What cfg.json adds to the settings of run.json when the run has ended. */
const RESULTS = ['text', 'final'];

/**
 * The command of `train` that makes the SAE in `directory` again, from the run.json next to it. Null where there is
 * none, where it is of other settings than the SAE's own, and where one command does not tell all: an SAE that was
 * trained further, or on what came through a pipe.
 *
 * @param settings sae_pipe in the metadata of its cfg.json
 * @throws Refusal where run.json is broken
 */
export async function trainingCommand(directory: string, settings: unknown): Promise<TrainingCommand | null> {
  const path = join(directory, RUN_FILE);
  if (!existsSync(path)) return null;
  const json = await readJsonFile(path, [`${path} does not exist.`, ''], undefined, LARGEST_RUN_FILE);
  // Of an older program.
  if (typeof json !== 'object' || json === null || !('flags' in json)) return null;
  const run = checkJson(runFile, json, path);
  const made = (settings ?? {}) as Record<string, unknown>;
  if ('trained_further' in made || !isDeepStrictEqual(withoutResults(run.sae_pipe), withoutResults(made))) return null;
  const config = loadConfig('train', { out: directory }, undefined, run.flags);
  if (!isAbsolute(run.directory) || !inputsOf(config).every(isLasting)) return null;
  const [from, out] = [run.directory, resolve(directory)];
  const below = relative(from, out);
  const words = [...commandWords(trainSchema, config), '--out', /^\.\.|^$/.test(below) ? out : below];
  return { stage: 'train', directory: from, words };
}

function withoutResults(settings: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(settings).filter(([key]) => !RESULTS.includes(key)));
}

/** What the flags name that is read. */
function inputsOf(config: TrainConfig): string[] {
  const paths = flagsOf(trainSchema).filter(({ path, key }) => path && key !== 'out');
  return paths.flatMap(({ key }) => [config[key as keyof TrainConfig] ?? []].flat().map(String));
}

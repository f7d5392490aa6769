import { existsSync } from 'node:fs';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { commandWords, isLasting, type TrainingCommand } from '../config/command-words.js';
import { flagsOf } from '../config/flags.js';
import { loadConfig } from '../config/load.js';
import { type TrainConfig, trainSchema } from '../config/stages.js';
import { checkJson, readJsonFile } from '../disk/json-file.js';
import { RUN_FILE, recorded } from './run-file.js';

/** Bytes of run.json, at most. */
const LARGEST = 1 << 20;

const runFile = recorded.extend({ sae_pipe: z.record(z.string(), z.unknown()) });

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
  const json = await readJsonFile(path, [`${path} does not exist.`, ''], undefined, LARGEST);
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

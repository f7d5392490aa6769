import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { exists } from '../disk/input-file.js';
import { checkJson, readJsonFile } from '../disk/json.js';
import { writeAside } from '../disk/output-file.js';
import { Refusal } from '../errors/refusal.js';
import { runMetadata, type TrainingRecord } from '../sae/training-record.js';
import { commandWords, flagName, flagsOf, isLasting, recordName, type TrainingCommand } from './flags.js';
import { loadConfig } from './load.js';
import { listSeenFrom } from './path-list.js';
import { type TrainConfig, trainSchema } from './stages/train.js';

/**
 * Name of the file that describes a run: the metadata of the later cfg.json without its results, and the flags the run
 * was started with. Written before the first line of metrics.jsonl. Next to a finished SAE it is kept as long as the
 * state for training further.
 */
export const RUN_FILE = 'run.json';

/** Max bytes of run.json. */
export const LARGEST_RUN_FILE = 1 << 20;

/** How a flag of `train` relates to a run. */
type FlagOfRun =
  /** Determines the SAE: recorded in cfg.json; --resume refuses another value. */
  | 'result'
  /** Determines the SAE through its effect, which is recorded: --steps may be raised, and an SAE may have moved. */
  | 'outcome'
  /** Determines the activations, which are recorded by their content: --resume refuses another value. */
  | 'activations'
  /** Where inputs are, how they are computed, what is kept: --resume may change it. */
  | 'circumstance'
  /** Belongs to one command, not to the run: not in run.json. */
  | 'command';

/**
 * Every flag of `train`, except those of architectures, which are all `result`. A new flag does not compile until it is
 * declared here. cfg.json records flags in this order.
 */
const OF_RUN: Readonly<Record<keyof TrainConfig, FlagOfRun>> = {
  arch: 'result',
  recipe: 'result',
  train: 'result',
  dSae: 'result',
  skip: 'result',
  l1: 'result',
  l0: 'result',
  l1Convention: 'result',
  l2Normalise: 'result',
  l1Warmup: 'result',
  l1WarmupShare: 'result',
  steps: 'outcome',
  batch: 'result',
  lr: 'result',
  warmup: 'result',
  lrDecay: 'result',
  decaySteps: 'result',
  decayShare: 'result',
  lrEnd: 'result',
  resampleAt: 'result',
  resampleInputs: 'result',
  resampleWarmup: 'result',
  beta1: 'result',
  beta2: 'result',
  clipGradNorm: 'result',
  seed: 'result',
  init: 'outcome',
  bDecInit: 'result',
  start: 'result',
  initSubspace: 'result',
  normalize: 'result',
  maxActivationNormMultiple: 'result',
  order: 'result',
  poolRows: 'result',
  deadWindow: 'result',
  logEvery: 'result',

  hook: 'activations',
  hookOut: 'activations',
  context: 'activations',
  prependBos: 'activations',
  textField: 'activations',
  corpusFormat: 'activations',
  chatField: 'activations',
  roles: 'activations',
  idsField: 'activations',
  idsDtype: 'activations',
  corpusWeights: 'activations',
  mixtureStop: 'activations',
  shuffleBuffer: 'activations',
  encoding: 'activations',
  skipDocuments: 'activations',
  maxDocuments: 'activations',
  holdout: 'activations',
  excludeSpecialTokens: 'activations',
  dtype: 'activations',
  precision: 'activations',
  contextsPerPass: 'activations',

  tokens: 'circumstance',
  activations: 'circumstance',
  target: 'circumstance',
  model: 'circumstance',
  revision: 'circumstance',
  offline: 'circumstance',
  cacheCorpus: 'circumstance',
  corpus: 'circumstance',
  anyHook: 'circumstance',
  anyModel: 'circumstance',
  engine: 'circumstance',
  enginePrecision: 'circumstance',
  experimental: 'circumstance',
  device: 'circumstance',
  threads: 'circumstance',
  modelDevice: 'circumstance',
  modelThreads: 'circumstance',
  checkpointEvery: 'circumstance',
  keepCheckpoints: 'circumstance',
  discardState: 'circumstance',
  logDir: 'circumstance',

  out: 'command',
  overwrite: 'command',
  resume: 'command',
  takeOver: 'command',
  strict: 'command',
};

/** @param key of a flag of `train`, or of an architecture-specific flag */
export function flagOfRun(key: string): FlagOfRun {
  return (OF_RUN as Readonly<Record<string, FlagOfRun>>)[key] ?? 'result';
}

/** What a run did that was started before a flag, or the flag's current default, existed. */
const BEFORE = {
  start: 'zero',
  initSubspace: 'none',
  maxActivationNormMultiple: 0,
} as const satisfies Partial<TrainConfig>;
const beforeBy = (named: (key: string) => string): Readonly<Record<string, unknown>> =>
  Object.fromEntries(Object.entries(BEFORE).map(([key, value]) => [named(key), value]));
/** The same, by flag name. */
export const BEFORE_FLAGS = beforeBy(flagName);
/** The same, by key in the training record. */
export const BEFORE_RECORDS = beforeBy(recordName);

/** Is this flag of `train` recorded in cfg.json? */
export const isRecorded = (key: string) => ['result', 'outcome'].includes(flagOfRun(key));

/** Flags recorded in cfg.json, in its order; those of architectures follow `arch`. */
export const RECORDED_FLAGS = (Object.keys(OF_RUN) as (keyof TrainConfig)[]).filter(isRecorded);

/** run.json: what identifies a run, and the command that started it. */
const runFile = z.object({
  ...runMetadata.shape,
  /** By name, as parsed. */
  flags: z.record(z.string(), z.unknown()),
  /** Directory that relative paths in the flags refer to. */
  directory: z.string(),
});

const BROKEN = 'Remove it, and give all flags of the run with --resume.';

export function writeRunFile(
  directory: string,
  metadata: z.input<typeof runMetadata>,
  config: TrainConfig,
): Promise<void> {
  const flags = flagsOf(trainSchema).flatMap(({ key, name }) => {
    const value = config[key as keyof TrainConfig];
    return value === undefined || flagOfRun(key) === 'command' ? [] : [[name, value] as const];
  });
  const content: z.input<typeof runFile> = { ...metadata, flags: Object.fromEntries(flags), directory: process.cwd() };
  return writeAside(join(directory, RUN_FILE), `${JSON.stringify(content, null, 2)}\n`);
}

/**
 * Undefined if there is no run.json, or if another program wrote it.
 *
 * @throws Refusal if it is damaged
 */
async function readRunFile(directory: string): Promise<z.output<typeof runFile> | undefined> {
  const path = join(directory, RUN_FILE);
  if (!(await exists(path))) return undefined;
  const json = await readJsonFile(path, [`${path} does not exist.`, BROKEN], BROKEN, LARGEST_RUN_FILE);
  if (typeof json !== 'object' || json === null || !('flags' in json)) return undefined;
  const run = checkJson(runFile, json, path, BROKEN);
  return { ...run, flags: { ...BEFORE_FLAGS, ...run.flags } };
}

/** The directory in which a run was started; undefined if its run.json does not say. */
export async function runDirectory(directory: string): Promise<string | undefined> {
  const run = await readRunFile(directory).catch((error: unknown) => {
    if (error instanceof Refusal) return undefined;
    throw error;
  });
  return run && isAbsolute(run.directory) ? run.directory : undefined;
}

/** Flags that accept several directories, as a list or a pattern. */
const IN_PARTS = ['activations', 'target'];

/**
 * The flags a run was started with, by name; undefined if there is no run.json or another program wrote it. Paths
 * relative to another working directory are made absolute.
 *
 * @throws Refusal if it is damaged
 */
export async function readRunFlags(directory: string): Promise<Record<string, unknown> | undefined> {
  const run = await readRunFile(directory);
  if (!run) return undefined;
  const { flags, directory: from } = run;
  if (from === process.cwd()) return flags;
  const paths = flagsOf(trainSchema).filter((flag) => flag.path);
  const absolute = (name: string, value: unknown): unknown => {
    if (Array.isArray(value)) return value.map((one) => absolute(name, one));
    const path = typeof value === 'string' ? resolve(from, value) : '';
    // Hub ids and standard input are not paths.
    if (path !== '' && existsSync(path)) return path;
    return typeof value === 'string' && IN_PARTS.includes(name) ? (listSeenFrom(from, value) ?? value) : value;
  };
  return Object.fromEntries(
    Object.entries(flags).map(([name, value]) => [
      name,
      paths.some((flag) => flag.name === name) ? absolute(name, value) : value,
    ]),
  );
}

/** Call once cfg.json is written and no state is kept for training further. */
export function removeRunFile(directory: string): Promise<void> {
  return rm(join(directory, RUN_FILE), { force: true });
}

/** Keys that cfg.json adds to the settings in run.json when the run ends. */
const RESULTS = ['text', 'final', 'lambda', 'left_out'];

/**
 * The `train` command that reproduces the SAE in `directory`, from the run.json next to it. Null if there is none, if
 * its settings differ from the SAE's, or if one command is not enough: an SAE that was trained further, or trained on a
 * pipe.
 *
 * @param made the SAE's own record of its training
 * @throws Refusal if run.json is damaged
 */
export async function trainingCommand(directory: string, made: TrainingRecord): Promise<TrainingCommand | null> {
  const run = await readRunFile(directory);
  if (!run?.sae_pipe || made.trained_further) return null;
  if (!isDeepStrictEqual(withoutResults(run.sae_pipe), withoutResults(made))) return null;
  const config = loadConfig('train', { out: directory }, undefined, run.flags);
  if (!isAbsolute(run.directory) || !inputsOf(config).every(isLasting)) return null;
  const [from, out] = [run.directory, resolve(directory)];
  const below = relative(from, out);
  const words = [...commandWords(trainSchema, config), '--out', /^\.\.|^$/.test(below) ? out : below];
  return { stage: 'train', directory: from, words };
}

function withoutResults(record: TrainingRecord): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !RESULTS.includes(key)));
}

/** Input paths among the flags. */
function inputsOf(config: TrainConfig): string[] {
  const paths = flagsOf(trainSchema).filter(({ path, key }) => path && key !== 'out');
  return paths.flatMap(({ key }) => [config[key as keyof TrainConfig] ?? []].flat().map(String));
}

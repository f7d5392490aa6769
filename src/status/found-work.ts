import { basename, join } from 'node:path';
import { FORMAT, MANIFEST_FILE } from '../activations/manifest.js';
import { isLasting } from '../config/flags.js';
import { RUN_FILE } from '../config/run-file.js';
import { withoutSwitch } from '../config/switch-words.js';
import { fileTail } from '../disk/file-tail.js';
import { LOCK_FILE } from '../disk/lock.js';
import { EVAL_FILE } from '../eval/record.js';
import { FEATURES_FILE } from '../features/folder.js';
import { findState, isState } from '../features/state.js';
import { METRICS_FILE } from '../sae/training-curve.js';
import { PLAN_FILE } from '../sweep/plan-file.js';
import { commandLine } from './command-line.js';
import type { Holder, Owners } from './owners.js';
import { runWork } from './run-work.js';
import { mayBeStore, storeWork } from './store-work.js';
import { heldState, type WorkKind, type WorkStatus } from './work.js';

/** A directory of a piece of work, and who has it. */
export interface FoundWork {
  readonly kind: WorkKind;
  readonly directory: string;
  readonly names: ReadonlySet<string>;
  readonly holder: Holder | undefined;
}

/** Commands whose lock alone tells what a directory is: they have written nothing yet. */
const COMMANDS: readonly string[] = ['harvest', 'train', 'sweep', 'eval', 'features'] satisfies WorkKind[];

/** What a directory with these names in it is; undefined if it is not a piece of work. */
export async function recognise(
  directory: string,
  names: ReadonlySet<string>,
  owners: Owners,
): Promise<FoundWork | undefined> {
  const holder = names.has(LOCK_FILE) ? await owners.of(directory) : undefined;
  const kind = (await kindByFiles(directory, names)) ?? kindByOwner(holder);
  return kind && { kind, directory, names, holder };
}

async function kindByFiles(directory: string, names: ReadonlySet<string>): Promise<WorkKind | undefined> {
  if (names.has(PLAN_FILE)) return 'sweep';
  if (names.has(METRICS_FILE) || names.has(RUN_FILE)) return 'train';
  if (mayBeStore(names)) return 'harvest';
  if (names.has(EVAL_FILE)) return 'eval';
  if (names.has(FEATURES_FILE) || [...names].some(isState)) return 'features';
  // A store that has no rows yet.
  const manifest = names.has(MANIFEST_FILE) ? await fileTail(join(directory, MANIFEST_FILE), 2 ** 16) : undefined;
  return manifest?.text.includes(JSON.stringify(FORMAT)) ? 'harvest' : undefined;
}

function kindByOwner(holder: Holder | undefined): WorkKind | undefined {
  const command = holder?.owner?.command.split(' ').at(-1);
  return command !== undefined && COMMANDS.includes(command) ? (command as WorkKind) : undefined;
}

/**
 * How a piece of work stands; a sweep's is made of its parts.
 *
 * @param now milliseconds since 1970, as files have them
 */
export async function standing(found: FoundWork, now: number): Promise<WorkStatus> {
  const work = await standingByFiles(found, now);
  if (work.state !== 'stopped' || work.resume !== undefined) return work;
  const resume = commandInLock(found);
  return { ...work, ...(resume !== undefined && { resume }) };
}

/**
 * The command in the lock of a process that was killed: an evaluation writes nothing before its end, and others may not
 * have begun to write. --overwrite is left out where the command resumes: it would delete what was done.
 */
function commandInLock({ kind, holder }: FoundWork): string | undefined {
  const { command, given } = holder?.owner ?? {};
  if (!given?.words.every(isLasting) || command?.split(' ').at(-1) !== kind) return undefined;
  if (kind === 'eval') return commandLine(kind, given, []);
  const words = withoutSwitch(withoutSwitch(given.words, 'overwrite'), 'resume');
  return commandLine(kind, { ...given, words }, ['--resume']);
}

async function standingByFiles({ kind, directory, names, holder }: FoundWork, now: number): Promise<WorkStatus> {
  if (kind === 'train') return runWork(directory, holder, now);
  if (kind === 'harvest') return storeWork(directory, holder);
  const result = kind === 'eval' ? EVAL_FILE : FEATURES_FILE;
  if (holder === undefined && names.has(result)) return { kind, directory, state: 'finished' };
  const state = heldState(holder);
  if (kind === 'eval') return { kind, directory, state };
  const command = state === 'stopped' ? (await findState(directory).catch(() => undefined))?.command : undefined;
  const resume = command && commandLine(kind, command, ['--out', directory, '--resume']);
  return { kind, directory, state, ...contextsDone(names), ...(resume !== undefined && { resume }) };
}

/** Contexts that are in the newest state of a folder of features. */
function contextsDone(names: ReadonlySet<string>): Pick<WorkStatus, 'done' | 'unit'> {
  const newest = [...names].filter(isState).sort().at(-1);
  return newest === undefined ? {} : { done: Number(/\d+/.exec(basename(newest))![0]), unit: 'context' };
}

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

/** The directory of a piece of work, and its owner. */
export interface FoundWork {
  readonly kind: WorkKind;
  readonly directory: string;
  readonly names: ReadonlySet<string>;
  readonly holder: Holder | undefined;
}

/** Commands whose lock alone identifies a directory: they may have written nothing yet. */
const COMMANDS: readonly string[] = ['harvest', 'train', 'sweep', 'eval', 'features'] satisfies WorkKind[];

/** Identifies a directory by the names in it; undefined if it is not a piece of work. */
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
  // A store without rows.
  const manifest = names.has(MANIFEST_FILE) ? await fileTail(join(directory, MANIFEST_FILE), 2 ** 16) : undefined;
  return manifest?.text.includes(JSON.stringify(FORMAT)) ? 'harvest' : undefined;
}

function kindByOwner(holder: Holder | undefined): WorkKind | undefined {
  const command = holder?.owner?.command.split(' ').at(-1);
  return command !== undefined && COMMANDS.includes(command) ? (command as WorkKind) : undefined;
}

/**
 * The status of a piece of work, except a sweep's, which is derived from its parts.
 *
 * @param now milliseconds since 1970, like file times
 */
export async function standing(found: FoundWork, now: number): Promise<WorkStatus> {
  const work = await standingByFiles(found, now);
  if (work.state !== 'stopped' || work.resume !== undefined) return work;
  const resume = commandInLock(found);
  return { ...work, ...(resume !== undefined && { resume }) };
}

/**
 * The command in the lock of a process that was killed: an evaluation writes nothing before its end, and others may not
 * have started to write. --overwrite is omitted for commands that resume: it would delete their work; so is
 * --take-over, since this owner is known to be dead.
 */
function commandInLock({ kind, holder }: FoundWork): string | undefined {
  const { command, given } = holder?.owner ?? {};
  const lasting = given?.words.every((word) => isLasting(word.replace(/^--[a-z0-9-]+=/, '')));
  if (!lasting || command?.split(' ').at(-1) !== kind) return undefined;
  const without = (...names: string[]) => names.reduce<readonly string[]>(withoutSwitch, given!.words);
  if (kind === 'eval') return commandLine(kind, { ...given!, words: [...without('take-over')] }, []);
  return commandLine(kind, { ...given!, words: [...without('take-over', 'overwrite', 'resume')] }, ['--resume']);
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

/** Contexts in the newest state of a folder of features. */
function contextsDone(names: ReadonlySet<string>): Pick<WorkStatus, 'done' | 'unit'> {
  const newest = [...names].filter(isState).sort().at(-1);
  return newest === undefined ? {} : { done: Number(/\d+/.exec(basename(newest))![0]), unit: 'context' };
}

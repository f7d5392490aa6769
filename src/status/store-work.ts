import { lstat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MANIFEST_FILE, type Manifest, readManifest } from '../activations/manifest.js';
import { rowsExpected } from '../activations/part-rows.js';
import type { GivenCommand } from '../config/flags.js';
import { Refusal } from '../errors/refusal.js';
import { secondsLeft } from '../progress/progress.js';
import { commandLine } from './command-line.js';
import type { Holder } from './owners.js';
import { heldState, type WorkStatus } from './work.js';

/** Number of windows over which speed is averaged. */
const RECENT = 10;

/** The status of a store, from its manifest and the times of its files. */
export async function storeWork(directory: string, holder: Holder | undefined): Promise<WorkStatus> {
  const work = { kind: 'harvest', directory } as const;
  let manifest: Manifest;
  try {
    manifest = await readManifest(directory);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    // There is no manifest before the first window.
    if (holder !== undefined && error.code === 'activations/not-a-store') return { ...work, state: heldState(holder) };
    return { ...work, state: 'failed', reason: error.message };
  }
  const done = manifest.rows + (manifest.partial?.rows ?? 0);
  // For a part of a harvest, its own rows.
  const total = manifest.complete ? manifest.rows : rowsExpected(manifest);
  const told = { ...work, done, total, unit: 'row' } as const;
  if (manifest.complete) return { ...told, done: manifest.rows, state: 'finished' };
  const state = heldState(holder);
  const resume = state === 'stopped' && manifest.command && resumeOf(directory, manifest, manifest.command);
  const rate = state === 'running' ? await rateOf(directory, manifest, holder!.taken) : undefined;
  const left = rate === undefined ? undefined : secondsLeft(total - done, rate);
  return {
    ...{ ...told, state },
    ...(rate !== undefined && { rate }),
    ...(left !== undefined && { left }),
    ...(resume && { resume }),
  };
}

/** Its --out follows from the present location of the store: OUT/HOOK, or OUT/HOOK/PART. */
function resumeOf(directory: string, { part }: Manifest, command: GivenCommand): string {
  const ofHook = part ? dirname(directory) : directory;
  return commandLine('harvest', command, ['--out', dirname(ofHook), '--resume']);
}

/**
 * Rows per second, from the times at which windows were finished, all by the clock of one file system. Windows of an
 * earlier command do not count.
 *
 * @param since when the present command locked the store, in milliseconds
 */
async function rateOf(directory: string, { contexts }: Manifest, since: number): Promise<number | undefined> {
  const finished: { at: number; rows: number }[] = [];
  for (const { file, rows } of contexts.slice(-RECENT)) {
    const at = (await lstat(join(directory, file)).catch(() => undefined))?.mtimeMs;
    if (at !== undefined && at >= since) finished.push({ at, rows });
  }
  const [first, ...later] = finished;
  const last = finished.at(-1);
  if (first === undefined || last === undefined) return undefined;
  // For a single window, opening the model is included.
  const [from, counted] = later.length > 0 ? [first.at, later] : [since, finished];
  const seconds = (last.at - from) / 1000;
  return seconds > 0 ? counted.reduce((sum, { rows }) => sum + rows, 0) / seconds : undefined;
}

/** Do the names in a directory look like a store's? Other programs have a manifest.json, too. */
export function mayBeStore(names: ReadonlySet<string>): boolean {
  return names.has(MANIFEST_FILE) && [...names].some((name) => /^(shard|contexts|partial)-[\w-]*\.arrow$/.test(name));
}

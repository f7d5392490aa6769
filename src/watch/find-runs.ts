import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { METRICS_FILE } from '../train/metrics-record.js';

/** Most directories that are looked into: someone may watch a whole home directory. */
const MOST_DIRECTORIES = 5000;
/** Most runs that are followed. */
const MOST_RUNS = 500;

export interface FoundRuns {
  /** Directories with a metrics.jsonl, in the order of their paths. */
  readonly directories: string[];
  /** False where there was more than is looked into. */
  readonly complete: boolean;
}

/**
 * The runs in and below a directory, nearer ones first found. Nothing is looked for below a run; symbolic links, hidden
 * directories and those that may not be read are passed over.
 */
export async function findRuns(
  root: string,
  { mostDirectories = MOST_DIRECTORIES, mostRuns = MOST_RUNS } = {},
): Promise<FoundRuns> {
  const directories: string[] = [];
  const queue = [root];
  // The loop reaches what it appends.
  for (const directory of queue) {
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
    if (entries.some((entry) => entry.name === METRICS_FILE && entry.isFile())) {
      if (directories.length >= mostRuns) return { directories: directories.sort(), complete: false };
      directories.push(directory);
      continue;
    }
    for (const entry of entries) {
      if (!entry.isDirectory() || entry.name.startsWith('.') || entry.name === 'node_modules') continue;
      if (queue.length >= mostDirectories) return { directories: directories.sort(), complete: false };
      queue.push(join(directory, entry.name));
    }
  }
  return { directories: directories.sort(), complete: true };
}

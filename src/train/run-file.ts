import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAside } from '../disk/write-aside.js';

/**
 * Name of the file that says what a run is while it is unfinished: the metadata that its cfg.json will have, without
 * results. It is there from before the first line of metrics.jsonl until the SAE is saved.
 */
export const RUN_FILE = 'run.json';

export function writeRunFile(directory: string, metadata: Readonly<Record<string, unknown>>): Promise<void> {
  return writeAside(join(directory, RUN_FILE), `${JSON.stringify(metadata, null, 2)}\n`);
}

/** To be called when cfg.json is there. */
export function removeRunFile(directory: string): Promise<void> {
  return rm(join(directory, RUN_FILE), { force: true });
}

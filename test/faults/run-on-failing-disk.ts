import { existsSync, readFileSync } from 'node:fs';
import { type Outcome, startIn } from '../cli/run-program.js';

/** What failing-disk.ts is to do. */
export interface Disk {
  /** The directory whose files are concerned. */
  readonly below: string;
  /** The first operation that fails, counted from 1. */
  readonly failAt: number;
  /** Does this one operation fail alone, and what comes after it succeed? */
  readonly once?: boolean;
  /**
   * What is counted: open, write, fsync, rename, mkdir, copyFile, 'fsync of a directory'; all but the last where it is
   * not given.
   */
  readonly only?: readonly string[];
  /** Of the error. */
  readonly code: string;
  /** File for the number of operations. */
  readonly report: string;
}

/** Runs a command whose writes below a directory fail from some operation on. */
export async function runOnFailingDisk(disk: Disk, args: readonly string[]): Promise<Outcome> {
  const preload = new URL('failing-disk.js', import.meta.url).href;
  return startIn({ NODE_OPTIONS: `--import ${preload}`, SAE_PIPE_TEST_DISK: JSON.stringify(disk) }, ...args).outcome;
}

/** Operations that the last command made. */
export const operationsOf = ({ report }: Disk) => (existsSync(report) ? Number(readFileSync(report, 'utf8')) : 0);

import { readdirSync, readFileSync } from 'node:fs';

/** Memory of a process and all that it started, bytes. */
export interface ProcessMemory {
  /** Resident, files it maps included. */
  readonly resident: number;
  /** The same with pages that several processes share counted by their share. */
  readonly proportional: number;
  /** Of no file: what it has allocated. */
  readonly anonymous: number;
}

/** What /proc says now; undefined where the process has ended. Linux only. */
export function processMemory(pid: number): ProcessMemory | undefined {
  const sum = { resident: 0, proportional: 0, anonymous: 0 };
  let found = false;
  for (const id of withDescendants(pid)) {
    try {
      const text = readFileSync(`/proc/${id}/smaps_rollup`, 'utf8');
      const bytes = (key: string) => 1024 * Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(text)![1]);
      sum.resident += bytes('Rss');
      sum.proportional += bytes('Pss');
      sum.anonymous += bytes('Anonymous');
      found = true;
    } catch {
      // It has just ended.
    }
  }
  return found ? sum : undefined;
}

/** A process and all below it. */
function withDescendants(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      // The name of the program, in brackets, may hold spaces and brackets.
      const [, parent] = readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
      parents.set(Number(name), Number(parent));
    } catch {
      // It has just ended.
    }
  }
  const tree = [root];
  for (const id of tree) for (const [child, parent] of parents) if (parent === id) tree.push(child);
  return tree;
}

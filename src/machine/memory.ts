import { readFileSync } from 'node:fs';
import { freemem, platform, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { slurmJob } from './scheduler-job.js';

/** Memory available to this process, in bytes. */
export interface Memory {
  /** Of the machine. */
  readonly total: number;
  /** Limit of this process: the machine's memory, restricted by control groups (a container) and the Slurm job. */
  readonly limit: number;
  /** Unused part of it; file caches, which the system reclaims, do not count as used. */
  readonly available: number;
}

/** Where the system reports it; replaced in tests. */
interface MemorySources {
  readonly total: number;
  readonly free: number;
  readonly cgroup: string;
  readonly mount: string;
  /** Limit of a scheduler's job. */
  readonly job?: number | undefined;
}

function thisMachine(): MemorySources {
  const total = totalmem();
  // Linux counts caches as free here; macOS does not, and by its figure nothing would ever fit.
  const free = platform() === 'linux' ? freemem() : total;
  return { total, free, cgroup: '/proc/self/cgroup', mount: '/sys/fs/cgroup', job: slurmJob()?.memory };
}

/**
 * Memory of this machine within the limits of control groups and of the Slurm job (whose limit may not be enforced). A
 * limit may be set at any level above this process's own group (Slurm sets it on the job), so all levels are read and
 * the lowest limit counts.
 */
export function memory({ total, free, cgroup, mount, job = total }: MemorySources = thisMachine()): Memory {
  let [limit, available] = [Math.min(total, job), Math.min(free, job)];
  for (const group of groupsOf(cgroup, mount)) {
    const most = figureIn(join(group.path, group.limit));
    if (most === undefined || most >= total) continue;
    const cached = Number(
      new RegExp(`^${group.cached} (\\d+)$`, 'm').exec(fileText(join(group.path, 'memory.stat')))?.[1] ?? 0,
    );
    const used = (figureIn(join(group.path, group.usage)) ?? 0) - cached;
    limit = Math.min(limit, most);
    available = Math.min(available, Math.max(0, most - used));
  }
  return { total, limit, available };
}

/** File names in the two versions of control groups. */
const V1 = { limit: 'memory.limit_in_bytes', usage: 'memory.usage_in_bytes', cached: 'total_inactive_file' };
const V2 = { limit: 'memory.max', usage: 'memory.current', cached: 'inactive_file' };

/** Directories of this process's control groups, from the innermost to the root. */
function groupsOf(cgroup: string, mount: string) {
  const groups: (typeof V1 & { path: string })[] = [];
  for (const line of fileText(cgroup).split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (path === undefined) continue;
    const version = controllers === '' ? V2 : controllers!.split(',').includes('memory') ? V1 : undefined;
    if (!version) continue;
    const root = version === V2 ? mount : join(mount, 'memory');
    for (let at = path; ; at = dirname(at)) {
      groups.push({ ...version, path: join(root, at) });
      if (at === '/') break;
    }
  }
  return groups;
}

/** The number in a file; undefined if there is none ("max", or no such file). */
function figureIn(path: string): number | undefined {
  const content = fileText(path).trim();
  return /^\d+$/.test(content) ? Number(content) : undefined;
}

function fileText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

import { readFileSync } from 'node:fs';
import { freemem, platform, totalmem } from 'node:os';
import { dirname, join } from 'node:path';

/** Memory for this process, bytes. */
export interface Memory {
  /** Of the machine. */
  readonly total: number;
  /** That this process may take: the machine's, or what a control group (Slurm, a container) allows. */
  readonly limit: number;
  /** Of it, not in use; file caches, which the system gives back, do not count as used. */
  readonly available: number;
}

/** Where the system tells; another place in tests. */
export interface MemorySources {
  readonly total: number;
  readonly free: number;
  readonly cgroup: string;
  readonly mount: string;
}

function thisMachine(): MemorySources {
  const total = totalmem();
  // Linux counts caches as free here; macOS does not, and its figure would say that nothing ever fits.
  const free = platform() === 'linux' ? freemem() : total;
  return { total, free, cgroup: '/proc/self/cgroup', mount: '/sys/fs/cgroup' };
}

/**
 * Memory of this machine within the limits of control groups. A limit may be set at any level above this process's own
 * group (Slurm sets it on the job), so all are read, and the tightest counts.
 */
export function memory({ total, free, cgroup, mount }: MemorySources = thisMachine()): Memory {
  let [limit, available] = [total, free];
  for (const group of groupsOf(cgroup, mount)) {
    const most = figure(join(group.path, group.limit));
    if (most === undefined || most >= total) continue;
    const cached = Number(
      new RegExp(`^${group.cached} (\\d+)$`, 'm').exec(text(join(group.path, 'memory.stat')))?.[1] ?? 0,
    );
    const used = (figure(join(group.path, group.usage)) ?? 0) - cached;
    limit = Math.min(limit, most);
    available = Math.min(available, Math.max(0, most - used));
  }
  return { total, limit, available };
}

/** Names of the files of the two versions of control groups. */
const V1 = { limit: 'memory.limit_in_bytes', usage: 'memory.usage_in_bytes', cached: 'total_inactive_file' };
const V2 = { limit: 'memory.max', usage: 'memory.current', cached: 'inactive_file' };

/** This process's groups from the innermost to the root, as directories. */
function groupsOf(cgroup: string, mount: string) {
  const groups: (typeof V1 & { path: string })[] = [];
  for (const line of text(cgroup).split('\n')) {
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

/** The number in a file; undefined where there is none ("max", or no such file). */
function figure(path: string): number | undefined {
  const content = text(path).trim();
  return /^\d+$/.test(content) ? Number(content) : undefined;
}

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

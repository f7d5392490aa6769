import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Can strace follow processes here? What native code opens, nothing else sees. */
export const canTrace = spawnSync('strace', ['-f', '-o', '/dev/null', process.execPath, '-e', '1']).status === 0;

/** A command that runs another and writes every file it opens to `trace`; the command itself where that is impossible. */
export function traced(command: readonly string[], trace: string): string[] {
  if (!canTrace) return [...command];
  // -y: by the paths of what was opened, symbolic links resolved.
  return ['strace', '-f', '-y', '--seccomp-bpf', '-e', 'trace=open,openat,openat2', '-o', trace, ...command];
}

/** Files below `directory` that were opened according to a trace. */
export function openedBelow(directory: string, trace: string): string[] {
  if (!existsSync(trace)) return [];
  const opened = [...readFileSync(trace, 'utf8').matchAll(/ = \d+<([^>]*)>/g)].map(([, path]) => path!);
  return opened.filter((path) => path.startsWith(join(directory, '/')));
}

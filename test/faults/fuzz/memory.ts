import { readFileSync, writeFileSync } from 'node:fs';

/** A line of /proc/<process>/status in MiB; 0 if there is none. */
export function mebibytes(key: 'VmRSS' | 'VmHWM', process: number | 'self' = 'self'): number {
  try {
    const text = readFileSync(`/proc/${process}/status`, 'utf8');
    return Number(new RegExp(`${key}:\\s+(\\d+)`).exec(text)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

/** Processor time of a process (milliseconds). */
export function processorTime(process: number): number {
  try {
    const stat = readFileSync(`/proc/${process}/stat`, 'utf8');
    const [user, system] = stat.slice(stat.lastIndexOf(')')).split(' ').slice(12, 14).map(Number);
    // In ticks, of which Linux has a hundred per second.
    return 10 * (user! + system!);
  } catch {
    return 0;
  }
}

/** Resets VmHWM to what is resident now. */
export function resetPeak(): void {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {}
}

import { statfs } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, resolve } from 'node:path';
import { Refusal } from '../errors/refusal.js';

/** A size for people: "1.5 GiB". */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Free bytes on the file system of `path`, which may not exist yet. */
export async function freeSpace(path: string): Promise<number> {
  const found = await statfs(path).catch(() => undefined);
  if (found) return found.bavail * found.bsize;
  const parent = dirname(path);
  return parent === path ? Number.POSITIVE_INFINITY : freeSpace(parent);
}

/**
 * Refuses work whose output does not fit on the disk.
 *
 * @param path where it will be written; need not exist yet
 * @param needed bytes
 */
export async function checkFreeSpace(
  path: string,
  needed: number,
  remedy = 'Free space, choose another --out, or ask for less.',
): Promise<void> {
  const free = await freeSpace(resolve(path));
  if (needed > free) {
    throw new Refusal(
      `The disk is too full for ${path}: ${formatBytes(needed)} are needed and ${formatBytes(free)} are free.`,
      remedy,
      'disk/too-full',
    );
  }
}

/** Upper bounds on a process's memory in bytes, by purpose. */
export type MemoryParts = Readonly<Record<string, number>>;

/** The sum of all parts, bytes. */
export function memoryTotal(parts: MemoryParts): number {
  return Object.values(parts).reduce((sum, bytes) => sum + bytes, 0);
}

/** The bound in words: "Memory: at most 1.2 GiB (engine 410.0 MiB, …)". */
export function memoryLine(parts: MemoryParts): string {
  const shares = Object.entries(parts).filter(([, bytes]) => bytes > 0);
  const total = shares.reduce((sum, [, bytes]) => sum + bytes, 0);
  const words = shares.map(([name, bytes]) => `${name} ${formatBytes(bytes)}`).join(', ');
  return `Memory: at most ${formatBytes(total)} (${words}).`;
}

/**
 * Resident memory beyond the accounted parts: Node.js and uncollected garbage, ONNX Runtime, libraries. Measured
 * (docs/explanation/reliability.md, "Memory"), plus a third.
 */
export const PROGRAM_MEMORY = 320 * 2 ** 20;

/** The same for a worker thread with its own sessions. */
export const THREAD_MEMORY = 64 * 2 ** 20;

/** The user's home directory; undefined for a user without one: no HOME and no entry in the password file. */
export function homeDirectory(): string | undefined {
  try {
    return homedir() || undefined;
  } catch {
    return undefined;
  }
}

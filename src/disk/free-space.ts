import { statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Refusal } from '../config/refusal.js';

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

/** Free bytes on the file system that will hold `path`, which may not exist yet. */
export async function freeSpace(path: string): Promise<number> {
  const found = await statfs(path).catch(() => undefined);
  if (found) return found.bavail * found.bsize;
  const parent = dirname(path);
  return parent === path ? Number.POSITIVE_INFINITY : freeSpace(parent);
}

/**
 * Refuses work whose output will not fit the disk.
 *
 * @param path where it will be written; may not exist yet
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
    );
  }
}

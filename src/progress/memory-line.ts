import { formatBytes } from '../disk/free-space.js';

/** What a process holds at most, in bytes, by what it is for. */
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
 * Resident memory of the program beside what it is told to hold: Node.js and its garbage on the way to be collected,
 * ONNX Runtime, libraries. Measured (docs/reliability.md, "Memory"), with a third more.
 */
export const PROGRAM = 320 * 2 ** 20;

/** The same of a worker thread with sessions of its own. */
export const THREAD = 64 * 2 ** 20;

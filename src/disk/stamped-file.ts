import type { FileHandle } from 'node:fs/promises';
import { Refusal } from '../errors/refusal.js';
import { fill, openRegular, refusedRead, stampOf } from './input-file.js';
import { bufferFor, memoryFor, placeIn } from './reading-memory.js';
import { formatBytes } from './space.js';

/** The bytes of a file, and a stamp that changes if it is touched. */
export interface StampedFile {
  readonly bytes: Uint8Array;
  /** Equal stamps mean equal contents; undefined if the file changed while being read. */
  readonly stamp: string | undefined;
}

/**
 * The bytes of a regular file of known size; null if nothing exists at `path`.
 *
 * @param most max bytes
 * @param spare reusable buffers: the smallest in which the file fits is removed from the list and filled
 * @throws Refusal if it is larger, not a regular file, or not readable
 */
export function readStamped(
  path: string,
  most: number,
  remedy?: string,
  spare: ArrayBufferLike[] = [],
): Promise<StampedFile | null> {
  return stamped(path, remedy, async (handle, size) => {
    if (size > most) {
      throw new Refusal(
        `${path} has more than ${formatBytes(most)}.`,
        remedy ?? 'Check that it is the file you mean.',
        'disk/file-too-large',
      );
    }
    const reused = takeFitting(spare, bufferFor(size));
    const bytes = reused ? placeIn(reused, size) : memoryFor(size);
    const length = await fill({ handle }, bytes, 0);
    return { bytes: bytes.subarray(0, length), whole: length === size };
  });
}

/**
 * Reads a regular file in order, in pieces as large as `memory`, except for the last.
 *
 * @param take called with each piece and its place in the file
 * @returns its stamp, as readStamped gives it; null if nothing exists at `path`
 * @throws Refusal if it is not a regular file, or not readable
 */
export async function stampOfPieces(
  path: string,
  memory: Uint8Array,
  take: (piece: Uint8Array, at: number) => void,
): Promise<string | undefined | null> {
  const found = await stamped(path, undefined, async (handle, size) => {
    let at = 0;
    while (at < size) {
      const length = await fill({ handle }, memory.subarray(0, size - at), at);
      if (length === 0) break;
      take(memory.subarray(0, length), at);
      at += length;
    }
    return { whole: at === size };
  });
  return found === null ? null : found.stamp;
}

/** What `read` finds in a file, and the stamp of the file if it was the same before and after. */
async function stamped<T extends { readonly whole: boolean }>(
  path: string,
  remedy: string | undefined,
  read: (handle: FileHandle, size: number) => Promise<T>,
): Promise<(T & { readonly stamp: string | undefined }) | null> {
  const file = await openRegular(path, remedy);
  if (!file) return null;
  const { handle } = file;
  try {
    const before = await handle.stat({ bigint: true });
    const found = await read(handle, Number(before.size));
    const same = found.whole && stampOf(await handle.stat({ bigint: true })) === stampOf(before);
    return { ...found, stamp: same ? stampOf(before) : undefined };
  } catch (cause) {
    throw refusedRead(path, cause);
  } finally {
    await handle.close();
  }
}

/** Removes the smallest buffer of at least `size` bytes from the list; undefined if there is none. */
export function takeFitting<T extends ArrayBufferLike>(spare: T[], size: number): T | undefined {
  let best = -1;
  for (const [i, { byteLength }] of spare.entries()) {
    if (byteLength >= size && (best < 0 || byteLength < spare[best]!.byteLength)) best = i;
  }
  return best < 0 ? undefined : spare.splice(best, 1)[0];
}

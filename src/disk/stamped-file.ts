import { Refusal } from '../errors/refusal.js';
import { openRegular, refusedRead, stampOf } from './input-file.js';
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
export async function readStamped(
  path: string,
  most: number,
  remedy?: string,
  spare: ArrayBufferLike[] = [],
): Promise<StampedFile | null> {
  const file = await openRegular(path, remedy);
  if (!file) return null;
  const { handle } = file;
  try {
    const found = await handle.stat({ bigint: true });
    const before = stampOf(found);
    const size = Number(found.size);
    if (size > most) {
      throw new Refusal(
        `${path} has more than ${formatBytes(most)}.`,
        remedy ?? 'Check that it is the file you mean.',
        'disk/file-too-large',
      );
    }
    const bytes = new Uint8Array(takeFitting(spare, size) ?? new ArrayBuffer(size), 0, size);
    let length = 0;
    while (length < size) {
      const { bytesRead } = await handle.read(bytes, length, Math.min(size - length, 2 ** 30), length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    const same = stampOf(await handle.stat({ bigint: true })) === before && length === size;
    return { bytes: bytes.subarray(0, length), stamp: same ? before : undefined };
  } catch (cause) {
    throw refusedRead(path, cause);
  } finally {
    await handle.close();
  }
}

/** Removes the smallest buffer of at least `size` bytes from the list; undefined if there is none. */
export function takeFitting(spare: ArrayBufferLike[], size: number): ArrayBufferLike | undefined {
  let best = -1;
  for (const [i, { byteLength }] of spare.entries()) {
    if (byteLength >= size && (best < 0 || byteLength < spare[best]!.byteLength)) best = i;
  }
  return best < 0 ? undefined : spare.splice(best, 1)[0];
}

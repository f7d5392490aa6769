import { Refusal } from '../errors/refusal.js';
import { openRegular, refusedRead, stampOf } from './input-file.js';
import { formatBytes } from './space.js';

/** The bytes of a file, and what tells whether it was touched since. */
export interface StampedFile {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Equal stamps are equal contents; undefined where the file changed while it was read. */
  readonly stamp: string | undefined;
}

/**
 * The bytes of a regular file that has a known size; null where nothing exists at `path`.
 *
 * @param most bytes, at most
 * @param spare memory that nobody needs any more: a piece of the file's size is taken from the list and written to, which
 * spares new memory
 * @throws Refusal where it has more, is not a regular file, or may not be read
 */
export async function readStamped(
  path: string,
  most: number,
  remedy?: string,
  spare: ArrayBuffer[] = [],
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
    const [reused] = spare.splice(indexOfSize(spare, size), 1);
    const bytes = new Uint8Array(reused ?? new ArrayBuffer(size));
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

/** Beyond the list's end where it has none. */
function indexOfSize(spare: readonly ArrayBuffer[], size: number): number {
  const at = spare.findIndex(({ byteLength }) => byteLength === size);
  return at < 0 ? spare.length : at;
}

/**
 * Bytes of its buffer before a file that is read from its beginning. Large buffers begin with a page, and so do files in
 * Linux's cache. AMD's Zen 3 copies between equal places of pages at a quarter of its speed (1.9 instead of 7 GB/s, with
 * the instruction that Linux uses), so a file is read to the middle of a page.
 */
const LEAD = 2 ** 11;

/** Bytes of a buffer into which a file of `size` bytes is read. */
export const bufferFor = (size: number): number => LEAD + size;

/** Where in a buffer of at least bufferFor(size) bytes a file of `size` bytes is read. */
export function placeIn<T extends ArrayBufferLike>(buffer: T, size: number): Uint8Array<T> {
  return new Uint8Array(buffer, LEAD, size);
}

/** New memory into which a file of `size` bytes is read. */
export const memoryFor = (size: number): Uint8Array<ArrayBuffer> => placeIn(new ArrayBuffer(bufferFor(size)), size);

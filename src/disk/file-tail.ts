import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** The end of a file. */
export interface FileTail {
  /** Starts at a character boundary; the first line may be incomplete. */
  readonly text: string;
  /** Size of the whole file in bytes. */
  readonly size: number;
  /** Last modification (milliseconds since 1970). */
  readonly written: number;
}

/**
 * Reads the end of a file without following links or waiting for a pipe.
 *
 * @param bytes maximum to read
 * @returns undefined if it is not a readable regular file
 */
export async function fileTail(path: string, bytes: number): Promise<FileTail | undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    () => undefined,
  );
  if (file === undefined) return undefined;
  try {
    const stat = await file.stat();
    if (!stat.isFile()) return undefined;
    const length = Math.min(bytes, stat.size);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, stat.size - length);
    // Continuation bytes of UTF-8: 10xxxxxx.
    let start = 0;
    while (length < stat.size && start < Math.min(3, bytesRead) && (buffer[start]! & 0xc0) === 0x80) start++;
    return { text: buffer.toString('utf8', start, bytesRead), size: stat.size, written: stat.mtimeMs };
  } finally {
    await file.close();
  }
}

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** The end of a file. */
export interface FileTail {
  /** Not begun in the midst of a character; its first line may be a part of one. */
  readonly text: string;
  /** Bytes of the whole file. */
  readonly size: number;
  /** When it was last written (milliseconds since 1970). */
  readonly written: number;
}

/**
 * Reads the end of a file, whatever bears its name: no link is followed, and a pipe is not waited for.
 *
 * @param bytes read at most
 * @returns undefined where there is no regular file that may be read
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
    // Bytes that continue a character: 10xxxxxx.
    let start = 0;
    while (length < stat.size && start < Math.min(3, bytesRead) && (buffer[start]! & 0xc0) === 0x80) start++;
    return { text: buffer.toString('utf8', start, bytesRead), size: stat.size, written: stat.mtimeMs };
  } finally {
    await file.close();
  }
}

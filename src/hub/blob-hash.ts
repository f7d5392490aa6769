import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';

/** A file as the hub lists it: its hash names the blob and proves the bytes. */
export interface HubFile {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** SHA-256 of the content (files in large-file storage, 64 digits) or git's SHA-1 of the blob (40 digits). */
  readonly hash: string;
}

/** Are the bytes at `path` those of `file`? Reads the whole file. */
export async function matches(path: string, { hash, size }: HubFile): Promise<boolean> {
  // git hashes a blob with its kind and length in front.
  const digest = hash.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) digest.update(chunk as Buffer);
  return digest.digest('hex') === hash;
}

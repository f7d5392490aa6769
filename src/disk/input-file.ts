import { type BigIntStats, constants, type Stats } from 'node:fs';
import { access, type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { memoryFor } from './reading-memory.js';
import { formatBytes } from './space.js';

/** A regular file, open for reading. */
export interface RegularFile {
  readonly path: string;
  readonly handle: FileHandle;
  /** Size in bytes when it was opened. */
  readonly size: number;
}

/** Bytes to read beyond the size a file had when it was opened. */
const READ_AHEAD = 2 ** 16;

/**
 * Opens a regular file for reading; null if nothing exists at `path`. Symbolic links are followed: clusters and moved
 * caches consist of them. This is safe because only regular files are opened (a pipe would block, a device never ends),
 * the open file itself is checked, and only what a schema knows is shown or copied.
 *
 * @param remedy what to do if something else is there
 * @throws Refusal if something else is there, or it is not readable
 */
export async function openRegular(path: string, remedy?: string): Promise<RegularFile | null> {
  const check = (found: Stats) => {
    if (!found.isFile())
      throw new Refusal(`${path} is not a file.`, remedy ?? 'Put a regular file there.', 'disk/not-a-file');
  };
  try {
    // Also before opening, since opening a device may have side effects.
    check(await stat(path));
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    try {
      const found = await handle.stat();
      check(found);
      return { path, handle, size: found.size };
    } catch (error) {
      await handle.close();
      throw error;
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw refusedRead(path, cause);
  }
}

/**
 * The bytes of a regular file; null if nothing exists at `path`. The size is not relied on: a file may grow, and files
 * in /proc report 0.
 *
 * @param most max bytes
 * @throws Refusal if it is larger, not a regular file, or not readable
 */
export async function readRegular(path: string, most: number, remedy?: string): Promise<Buffer | null> {
  const file = await openRegular(path, remedy);
  if (!file) return null;
  const tooLarge = () =>
    new Refusal(
      `${path} has more than ${formatBytes(most)}.`,
      remedy ?? 'Check that it is the file you mean.',
      'disk/file-too-large',
    );
  try {
    if (file.size > most) throw tooLarge();
    const { buffer, byteOffset } = memoryFor(file.size);
    const whole = Buffer.from(buffer, byteOffset, file.size);
    let length = await fill(file, whole, 0);
    if (length < whole.length) return whole.subarray(0, length);
    const pieces = [whole];
    for (;;) {
      const more = Buffer.allocUnsafe(READ_AHEAD);
      const bytes = await fill(file, more, length);
      if (bytes === 0) return pieces.length === 1 ? whole : Buffer.concat(pieces);
      length += bytes;
      if (length > most) throw tooLarge();
      pieces.push(more.subarray(0, bytes));
    }
  } catch (cause) {
    throw refusedRead(path, cause);
  } finally {
    await file.handle.close();
  }
}

/**
 * The bytes of a regular file in chunks; each chunk's buffer is reused for the next.
 *
 * @throws Refusal if it does not exist, is not a regular file, or is not readable
 */
export async function* piecesOfFile(path: string, pieceBytes = 2 ** 20): AsyncGenerator<Buffer> {
  const file = await openRegular(path);
  if (!file) throw new Refusal(`There is no file ${path}.`, 'Check the path.', 'disk/no-file');
  try {
    const { buffer, byteOffset } = memoryFor(pieceBytes);
    const piece = Buffer.from(buffer, byteOffset, pieceBytes);
    for (let done = 0; ; ) {
      const bytes = await fill(file, piece, done);
      if (bytes > 0) yield piece.subarray(0, bytes);
      done += bytes;
      if (bytes < piece.length) return;
    }
  } catch (cause) {
    throw refusedRead(path, cause);
  } finally {
    await file.handle.close();
  }
}

/** Fills `into` with the file's bytes from `position`, up to its end; returns how many were read. */
export async function fill(
  { handle }: Pick<RegularFile, 'handle'>,
  into: Uint8Array,
  position: number,
): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await handle.read(into, done, Math.min(into.length - done, 2 ** 30), position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** Turns a failed read into a Refusal; refusals pass through. */
export function refusedRead(path: string, cause: unknown): unknown {
  if (cause instanceof Refusal) return cause;
  const { code } = cause as NodeJS.ErrnoException;
  const remedy = code === 'EACCES' || code === 'EPERM' ? 'Check its permissions.' : 'Check the path and the disk.';
  return new Refusal(`${path} could not be read (${code}).`, remedy, 'disk/not-readable', { cause });
}

/**
 * Inputs of long work that are read repeatedly or memory-mapped: checks at any time that they have not changed. Costs
 * one stat per file; contents are read again only if a file was touched.
 */
export class Unchanged {
  private constructor(
    private readonly what: string,
    private readonly paths: readonly string[],
    private stamps: string,
    /** Of the contents. */
    readonly digest: string,
    private readonly digestOf: () => Promise<string>,
  ) {}

  /**
   * @param what name of the inputs in messages
   * @param digestOf hashes the contents; equal digests mean equal contents
   * @throws Refusal if they change while being read
   */
  static async of(what: string, paths: readonly string[], digestOf: () => Promise<string>): Promise<Unchanged> {
    const before = await stampsOf(paths);
    const digest = await digestOf();
    const unchanged = new Unchanged(what, paths, before, digest, digestOf);
    await unchanged.check();
    return unchanged;
  }

  /** @throws Refusal if the contents no longer have `digest` */
  async check(): Promise<void> {
    const now = await stampsOf(this.paths);
    if (now === this.stamps) return;
    const digest = await this.digestOf().catch((cause) => {
      throw this.changed(cause);
    });
    if (digest !== this.digest) throw this.changed();
    this.stamps = now;
  }

  private changed(cause?: unknown): Refusal {
    return new Refusal(
      `${this.what} was changed while in use.`,
      'Leave it alone until the command has ended, and run the command again.',
      'disk/changed-in-use',
      { cause },
    );
  }
}

/** Changes whenever a file is written or replaced: the kernel sets ctime, which cannot be set back. */
export function stampOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(':');
}

async function stampsOf(paths: readonly string[]): Promise<string> {
  const stamps = paths.map((path) =>
    stat(path, { bigint: true }).then(stampOf, (cause: NodeJS.ErrnoException) => String(cause.code)),
  );
  return (await Promise.all(stamps)).join();
}

/**
 * Checks that a command does not replace its own inputs, whatever the names: files are compared by inode, so links and
 * hard links are recognised.
 *
 * @param outputs files that would be replaced or deleted; nonexistent ones are harmless
 * @param inputs files, and directories with everything below them; undefined or missing ones are ignored
 * @throws UsageRefusal naming output and input
 */
export async function checkNotInputs(
  outputs: readonly string[],
  inputs: readonly (string | undefined)[],
): Promise<void> {
  const replaced = new Map<string, string>();
  for (const path of outputs) {
    const found = await stat(path, { bigint: true }).catch(() => undefined);
    if (found?.isFile()) replaced.set(`${found.dev}:${found.ino}`, path);
  }
  if (replaced.size === 0) return;
  const seen = new Set<string>();
  const look = async (path: string) => {
    const found = await stat(path, { bigint: true }).catch(() => undefined);
    if (!found) return;
    const key = `${found.dev}:${found.ino}`;
    const output = replaced.get(key);
    if (output !== undefined) throw isInput(output, path);
    if (!found.isDirectory() || seen.has(key)) return;
    seen.add(key);
    for (const name of await readdir(path).catch((): string[] => [])) await look(join(path, name));
  };
  for (const input of inputs) if (input !== undefined) await look(input);
}

function isInput(output: string, input: string): UsageRefusal {
  const same = output === input ? 'an input of this command' : `the same file as ${input}, an input of this command`;
  return new UsageRefusal(`${output} would be replaced, but is ${same}.`, 'Choose another --out.', 'disk/out-is-input');
}

/** Path of a file of this package, given relative to the package root. */
export const packagedFile = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

/** Does `path` exist and is it reachable? */
export function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

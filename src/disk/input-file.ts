import { type BigIntStats, constants, type Stats } from 'node:fs';
import { access, type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { formatBytes } from './space.js';

/** A regular file, open for reading. */
export interface RegularFile {
  readonly path: string;
  readonly handle: FileHandle;
  /** Bytes when it was opened. */
  readonly size: number;
}

/** Bytes asked for beyond the size that a file had when it was opened. */
const READ_AHEAD = 2 ** 16;

/**
 * Opens a regular file for reading; null where nothing exists at `path`. Symbolic links are followed: clusters and moved
 * caches consist of them. What keeps this safe is that nothing but a regular file is ever opened (a pipe would block, a
 * device never ends), that the open file itself is checked, and that only what a schema knows is shown or copied.
 *
 * @param remedy what to do where something else is there
 * @throws Refusal where something else is there, or it may not be read
 */
export async function openRegular(path: string, remedy?: string): Promise<RegularFile | null> {
  const check = (found: Stats) => {
    if (!found.isFile())
      throw new Refusal(`${path} is not a file.`, remedy ?? 'Put a regular file there.', 'disk/not-a-file');
  };
  try {
    // Before opening as well: opening a device may do something to it.
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
 * The bytes of a regular file; null where nothing exists at `path`. A size is not a promise: a file may grow, and those of
 * /proc have none.
 *
 * @param most bytes, at most
 * @throws Refusal where it has more, is not a regular file, or may not be read
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
    const whole = Buffer.allocUnsafeSlow(file.size);
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
 * The bytes of a regular file piece by piece; a piece is written over when the next one is asked for.
 *
 * @throws Refusal where nothing is there, or it is not a regular file, or may not be read
 */
export async function* piecesOfFile(path: string, pieceBytes = 2 ** 20): AsyncGenerator<Buffer> {
  const file = await openRegular(path);
  if (!file) throw new Refusal(`There is no file ${path}.`, 'Check the path.', 'disk/no-file');
  try {
    const piece = Buffer.allocUnsafe(pieceBytes);
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

/** Fills `into` with the file's bytes from `position`, as far as there are any; returns how many. */
async function fill({ handle }: RegularFile, into: Buffer, position: number): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await handle.read(into, done, Math.min(into.length - done, 2 ** 30), position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** The sentence for a failed read; what is one already passes through. */
export function refusedRead(path: string, cause: unknown): unknown {
  if (cause instanceof Refusal) return cause;
  const { code } = cause as NodeJS.ErrnoException;
  const remedy = code === 'EACCES' || code === 'EPERM' ? 'Check its permissions.' : 'Check the path and the disk.';
  return new Refusal(`${path} could not be read (${code}).`, remedy, 'disk/not-readable', { cause });
}

/**
 * Inputs of long work that are read more than once, or mapped into memory: that they are still what they were can be
 * asked at any time. It costs a call to the file system per file; contents are read again only where a file was touched.
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
   * @param what names the inputs in messages
   * @param digestOf reads the contents; equal digests are equal contents
   * @throws Refusal where they change while they are read
   */
  static async of(what: string, paths: readonly string[], digestOf: () => Promise<string>): Promise<Unchanged> {
    const before = await stampsOf(paths);
    const digest = await digestOf();
    const unchanged = new Unchanged(what, paths, before, digest, digestOf);
    await unchanged.check();
    return unchanged;
  }

  /** @throws Refusal where the contents are no longer those of `digest` */
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
      `${this.what} was changed while it was in use.`,
      'Leave it alone until the command has ended, and run the command again.',
      'disk/changed-in-use',
      { cause },
    );
  }
}

/** Changes whenever a file is written or replaced: the kernel sets its ctime, which nobody can turn back. */
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
 * Makes sure that a command does not replace what it reads, whatever the names: through links and hard links too, a
 * file is told by its number.
 *
 * @param outputs files that would be replaced or deleted; those that do not exist are no danger
 * @param inputs files, and directories with all that lies below them; undefined or missing: not read from disk
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
  return new UsageRefusal(
    `${output} would be replaced, and it is ${same}.`,
    'Choose another --out.',
    'disk/out-is-input',
  );
}

/** Where a file of this package lies, by its path from the package's root. */
export const packagedFile = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

/** Is there anything at `path` that can be reached? */
export function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

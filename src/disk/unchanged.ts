import { stat } from 'node:fs/promises';
import { Refusal } from '../config/refusal.js';

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
      { cause },
    );
  }
}

/** Changes whenever a file is written or replaced: the kernel sets a file's ctime, which nobody can turn back. */
async function stampsOf(paths: readonly string[]): Promise<string> {
  const stamps = paths.map((path) =>
    stat(path, { bigint: true }).then(
      ({ dev, ino, size, mtimeNs, ctimeNs }) => [dev, ino, size, mtimeNs, ctimeNs].join(':'),
      (cause: NodeJS.ErrnoException) => String(cause.code),
    ),
  );
  return (await Promise.all(stamps)).join();
}

import { Refusal } from '../config/refusal.js';

/** Codes of a write whose reader has left. */
const UNREAD = ['EPIPE', 'ECONNRESET', 'ERR_STREAM_DESTROYED'];

/**
 * Standard output and standard error that may fail without ending the process. Who stops reading (`| head -1`, a
 * terminal that is closed) wants no more of what is said, and what is done goes on; a standard output that cannot be
 * written for another reason (a file on a full disk) has lost results, which is told.
 */
export class StandardStreams {
  private failed: NodeJS.ErrnoException | undefined;

  constructor() {
    process.stderr.on('error', () => {});
    process.stdout.on('error', (cause: NodeJS.ErrnoException) => {
      // A terminal that was closed says EIO, and so does a failing disk.
      const unread = UNREAD.includes(cause.code ?? '') || (cause.code === 'EIO' && process.stdout.isTTY);
      if (!unread) this.failed ??= cause;
    });
  }

  /**
   * Waits until all that was printed has left.
   *
   * @throws Refusal where it could not be written
   */
  async flushed(): Promise<void> {
    await new Promise<void>((resolve) => process.stdout.write('', () => resolve()));
    if (this.failed === undefined) return;
    throw new Refusal(
      `Standard output could not be written (${this.failed.code}).`,
      'Send it elsewhere; what was to be written below --out is whole.',
      { cause: this.failed },
    );
  }
}

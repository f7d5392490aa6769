import type { RegularFile } from '../disk/input-file.js';
import { Refusal } from '../errors/refusal.js';

/** Bytes read at a time. */
const PIECE = 2 ** 18;

/**
 * A regular file that stays open, as a Blob for the hub's client: reads from the file that was opened, wherever its
 * name points later, and never holds it in memory at once.
 */
export class OpenFileBlob extends Blob {
  override readonly size: number;

  /**
   * @param modified modification time when it was opened (nanoseconds)
   * @param end of the part, in bytes from the beginning of the file
   * @param tell called with bytes as they are read
   */
  private constructor(
    private readonly file: RegularFile,
    private readonly modified: bigint,
    private readonly start: number,
    private readonly end: number,
    private readonly tell: (bytes: number) => void,
  ) {
    super([]);
    this.size = end - start;
  }

  /** An entire open file. */
  static async of(file: RegularFile): Promise<OpenFileBlob> {
    return new OpenFileBlob(file, await modifiedAt(file), 0, file.size, () => {});
  }

  /** @throws Refusal if the file was written to since it was opened */
  async checkUnchanged(): Promise<void> {
    if ((await modifiedAt(this.file)) !== this.modified) throw changedInUse(this.file.path);
  }

  override slice(start = 0, end = this.size): OpenFileBlob {
    const at = (place: number) => this.start + Math.min(Math.max(0, place), this.size);
    return new OpenFileBlob(this.file, this.modified, at(start), Math.max(at(start), at(end)), this.tell);
  }

  /** The same bytes, reporting to another callback. */
  telling(tell: (bytes: number) => void): OpenFileBlob {
    return new OpenFileBlob(this.file, this.modified, this.start, this.end, tell);
  }

  override async arrayBuffer(): Promise<ArrayBuffer> {
    const whole = new Uint8Array(this.size);
    let done = 0;
    for await (const piece of this.pieces()) {
      whole.set(piece, done);
      done += piece.length;
    }
    return whole.buffer;
  }

  override async text(): Promise<string> {
    return new TextDecoder().decode(await this.arrayBuffer());
  }

  override stream(): ReturnType<Blob['stream']> {
    const pieces = this.pieces();
    return new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        const { value, done } = await pieces.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
    });
  }

  private async *pieces(): AsyncGenerator<Uint8Array<ArrayBuffer>, undefined> {
    const { handle, path } = this.file;
    for (let at = this.start; at < this.end; ) {
      const piece = new Uint8Array(Math.min(PIECE, this.end - at));
      const { bytesRead } = await handle.read(piece, 0, piece.length, at);
      if (bytesRead === 0) throw changedInUse(path);
      at += bytesRead;
      this.tell(bytesRead);
      yield piece.subarray(0, bytesRead);
    }
    return undefined;
  }
}

const modifiedAt = async ({ handle }: RegularFile) => (await handle.stat({ bigint: true })).mtimeNs;

function changedInUse(path: string): Refusal {
  return new Refusal(
    `${path} was changed while in use.`,
    'Leave it alone until the command has ended, and run the command again.',
    'disk/changed-in-use',
  );
}

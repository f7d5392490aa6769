import { createHash } from 'node:crypto';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAside } from '../disk/output-file.js';
import { makeKeptDirectory } from './kept-directory.js';

type Bytes = Uint8Array<ArrayBuffer>;

/** First byte and last byte (exclusive). */
type Range = readonly [start: number, end: number];

interface Kept {
  readonly range: Range;
  readonly sha256: string;
  readonly file: string;
}

const NAME = /^(\d{1,15})-(\d{1,15})-([0-9a-f]{64})$/;

/**
 * Cached ranges of a hub file, each in a file named after its range and SHA-256: START-END-HASH. A file whose contents
 * do not match its name is removed and counts as missing.
 */
export class KeptRanges {
  private constructor(
    private readonly directory: string,
    private readonly kept: Kept[],
  ) {}

  /**
   * @param readOnly nothing will be fetched: the directory is not created
   * @throws Refusal if the directory cannot be created
   */
  static async open(directory: string, readOnly = false): Promise<KeptRanges> {
    if (!readOnly) await makeKeptDirectory(directory);
    const names = readOnly ? await readdir(directory).catch((): string[] => []) : await readdir(directory);
    const kept = names.flatMap((file): Kept[] => {
      const [, start, end, sha256] = NAME.exec(file) ?? [];
      const range = [Number(start), Number(end)] as const;
      return sha256 !== undefined && range[0] < range[1] ? [{ range, sha256, file }] : [];
    });
    return new KeptRanges(directory, kept);
  }

  /**
   * Bytes of a range: cached parts, and in between fetched ones, which are then cached.
   *
   * @param fetch fetches a range
   */
  async read(start: number, end: number, fetch: (start: number, end: number) => Promise<Bytes>): Promise<Bytes> {
    const bytes = new Uint8Array(end - start);
    for (let at = start; at < end; ) {
      const kept = this.at(at);
      const known = kept && (await this.bytesOf(kept));
      if (kept && !known) continue;
      const stop = Math.min(end, kept ? kept.range[1] : this.nextAfter(at));
      if (known) bytes.set(known.subarray(at - kept!.range[0], stop - kept!.range[0]), at - start);
      else bytes.set(await this.fetched([at, stop], fetch), at - start);
      at = stop;
    }
    return bytes;
  }

  /** The cached part that extends furthest from a byte on; undefined if none contains it. */
  private at(byte: number): Kept | undefined {
    let best: Kept | undefined;
    for (const one of this.kept) {
      const [start, end] = one.range;
      if (start <= byte && byte < end && end > (best?.range[1] ?? 0)) best = one;
    }
    return best;
  }

  private nextAfter(byte: number): number {
    const starts = this.kept.map(({ range }) => range[0]).filter((start) => start > byte);
    return starts.reduce((least, start) => Math.min(least, start), Number.POSITIVE_INFINITY);
  }

  /** Its bytes; undefined if they are damaged or not readable. Damaged files are removed. */
  private async bytesOf(kept: Kept): Promise<Uint8Array | undefined> {
    const path = join(this.directory, kept.file);
    const bytes = await readFile(path).catch(() => undefined);
    const [start, end] = kept.range;
    if (bytes?.length === end - start && sha256Of(bytes) === kept.sha256) return bytes;
    const at = this.kept.indexOf(kept);
    if (at >= 0) this.kept.splice(at, 1);
    // A read error does not prove damage.
    if (bytes) await rm(path, { force: true }).catch(() => {});
    return undefined;
  }

  private async fetched(range: Range, fetch: (start: number, end: number) => Promise<Bytes>): Promise<Bytes> {
    const bytes = await fetch(...range);
    const sha256 = sha256Of(bytes);
    const file = `${range[0]}-${range[1]}-${sha256}`;
    await writeAside(join(this.directory, file), bytes);
    this.kept.push({ range, sha256, file });
    return bytes;
  }
}

const sha256Of = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

import { setTimeout as sleep } from 'node:timers/promises';
import { Refusal } from '../errors/refusal.js';
import { type Asked, type HubSettings, hubFetch, hubSettings, mayPass, type Patience } from '../hub/request.js';
import { KeptRanges } from './kept-ranges.js';

/** A file of a hub data set at a commit; plain data, which can be sent between threads. */
export interface RemotePlace {
  /** hf:owner/name@commit/path, for messages. */
  readonly name: string;
  readonly url: string;
  readonly bytes: number;
  readonly asked: Asked;
  readonly patience: Patience;
  /** Cache directory, if caching is requested; and whether to read only from it. */
  readonly cache?: string;
  readonly offline?: boolean;
}

/** Location of a file: its path, - for standard input, or a hub file. */
export type FilePlace = string | RemotePlace;

export const placeName = (place: FilePlace): string =>
  typeof place !== 'string' ? place.name : place === '-' ? 'standard input' : place;

/** A file with random access. */
export interface ByteSource {
  /** Bytes. */
  readonly size: number;
  /** Bytes `start` … `end` − 1, newly allocated. @throws if there are fewer */
  read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
  close(): Promise<void>;
}

/** Bytes per request, first and maximum; and number of requests in flight ahead of the reader. */
const [FIRST_BLOCK, BLOCK, AHEAD] = [2 ** 16, 2 ** 20, 6];
/** Max milliseconds between attempts. */
const LONGEST_DELAY = 30_000;

/**
 * A file read in parts by HTTP range requests. The access token is sent only to the hub's own origin; storage that the
 * hub redirects to is then queried directly as long as it responds. Interrupted transfers resume.
 */
export class RemoteFile implements ByteSource {
  private readonly fetch: typeof globalThis.fetch;
  /** Last redirect target of the hub. */
  private target: string;

  private constructor(
    private readonly place: RemotePlace,
    settings: HubSettings,
    private readonly kept: KeptRanges | undefined,
  ) {
    this.fetch = hubFetch({ ...settings, patience: place.patience }, place.asked);
    this.target = place.url;
  }

  static async open(place: RemotePlace): Promise<RemoteFile> {
    const kept = place.cache === undefined ? undefined : await KeptRanges.open(place.cache, place.offline);
    return new RemoteFile(place, await hubSettings(process.env, false), kept);
  }

  get size(): number {
    return this.place.bytes;
  }

  async read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    if (!(start >= 0 && start <= end && end <= this.size)) throw new Error('it ends too early');
    const { kept, place } = this;
    const ask = (from: number, to: number) => (place.offline ? this.notKept(from, to) : this.ask(from, to));
    return kept ? kept.read(start, end, ask) : ask(start, end);
  }

  /** Fetches a part, with retries if they may help. */
  private async ask(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const { attempts, delay } = this.place.patience;
    const part: Part = { bytes: new Uint8Array(end - start), start, filled: 0 };
    for (let fruitless = 0; part.filled < part.bytes.length; ) {
      const before = part.filled;
      const { target } = this;
      try {
        await this.fill(part, target);
      } catch (error) {
        const direct = target !== this.place.url;
        // Storage URLs are signed and expire.
        if (direct && this.target === target) this.target = this.place.url;
        if (!direct && error instanceof Refusal && !mayPass(error)) throw error;
        fruitless = part.filled > before ? 0 : fruitless + 1;
        if (fruitless >= attempts) throw this.brokeOff(start + part.filled, error);
        if (fruitless > 0) await sleep(Math.min(LONGEST_DELAY, delay * 2 ** (fruitless - 1)));
      }
    }
    return part.bytes;
  }

  async close(): Promise<void> {}

  private notKept(start: number, end: number): never {
    throw new Refusal(
      `Bytes ${start} to ${end - 1} of ${this.place.name} are not in ${this.place.cache}, and --offline is set.`,
      'Run once with --cache-corpus and network access, with the same --seed.',
      'corpus/not-kept',
    );
  }

  /** Fetches the missing rest of a part, once. */
  private async fill(part: Part, target: string): Promise<void> {
    const { bytes, start } = part;
    const from = start + part.filled;
    const last = start + bytes.length - 1;
    // A compressed response would have other bytes.
    const headers = { range: `bytes=${from}-${last}`, 'accept-encoding': 'identity' };
    const response = await this.fetch(target, { headers });
    try {
      this.checkAnswer(response, from, last);
      if (response.redirected) this.target = response.url;
      for await (const chunk of response.body ?? []) {
        if (chunk.length > bytes.length - part.filled) throw this.lying('it sent more bytes than requested');
        bytes.set(chunk, part.filled);
        part.filled += chunk.length;
      }
    } finally {
      await response.body?.cancel().catch(() => {});
    }
    if (part.filled < bytes.length) throw new Error('it sent less than requested');
  }

  private checkAnswer({ status, headers }: Response, from: number, last: number): void {
    if (status === 200 && from === 0 && last === this.size - 1) return;
    if (status !== 206) throw this.lying('it does not support HTTP range requests');
    const [, first, end, size] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(headers.get('content-range') ?? '') ?? [];
    if (Number(first) !== from || !(Number(end) >= from && Number(end) <= last))
      throw this.lying('it sent a different range than requested');
    if (size !== '*' && Number(size) !== this.size)
      throw this.lying(`the file has ${size} bytes there, but the hub lists ${this.size}`);
  }

  private lying(what: string): Refusal {
    return new Refusal(
      `The server of ${this.place.name} does not respond like hub storage: ${what}.`,
      'Try again, or download the files and give their directory.',
      'corpus/wrong-answer',
    );
  }

  private brokeOff(at: number, trouble: unknown): Refusal {
    if (trouble instanceof Refusal && at === 0) return trouble;
    const reason = trouble instanceof Error ? trouble.message.replace(/\.$/, '') : String(trouble);
    return new Refusal(
      `Reading ${this.place.name} was interrupted at byte ${at} of ${this.size}: ${reason}.`,
      'Rerun the same command once the network is back (harvest and train: with --resume).',
      'corpus/stream-broke-off',
      { cause: trouble },
    );
  }
}

/** A request in flight. */
interface Part {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly start: number;
  filled: number;
}

/** Bytes of a file from `at` on. */
export interface Block {
  readonly at: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** First byte and last byte (exclusive). */
export type ByteRange = readonly [start: number, end: number];

/** The bytes of ranges in order, in blocks; several are fetched ahead while one is processed. */
export async function* readAhead(source: ByteSource, ranges: Iterable<ByteRange>): AsyncGenerator<Block> {
  const coming: Promise<Block>[] = [];
  const blocks = blocksOf(ranges);
  const ask = () => {
    const { value, done } = blocks.next();
    if (done) return;
    const [at, end] = value;
    const block = source.read(at, end).then((bytes) => ({ at, bytes }));
    // Reported to whoever awaits it; nobody may.
    block.catch(() => {});
    coming.push(block);
  };
  // Read ahead more for a reader that continues; one that only needs the beginning has requested little.
  let ahead = 1;
  ask();
  for (let next = coming.shift(); next; next = coming.shift()) {
    while (coming.length < ahead) {
      const before = coming.length;
      ask();
      if (coming.length === before) break;
    }
    ahead = Math.min(AHEAD, ahead + 1);
    yield await next;
  }
}

function* blocksOf(ranges: Iterable<ByteRange>): Generator<ByteRange> {
  let size = FIRST_BLOCK;
  for (const [start, end] of ranges) {
    for (let at = start; at < end; ) {
      const stop = Math.min(end, at + size);
      yield [at, stop];
      at = stop;
      size = Math.min(BLOCK, 2 * size);
    }
  }
}

/** The bytes of a remote file from `start` on. */
export async function* remoteBytes(place: RemotePlace, start = 0): AsyncGenerator<Buffer> {
  const file = await RemoteFile.open(place);
  for await (const { bytes } of readAhead(file, [[start, place.bytes]])) yield Buffer.from(bytes.buffer);
}

/**
 * A source whose reads are known in advance: they proceed through these ranges in order, which are prefetched. Reads
 * outside of them are fetched separately. Concurrent reads are done one after the other.
 */
export function alongRanges(source: ByteSource, ranges: readonly ByteRange[]): ByteSource {
  const blocks = readAhead(source, ranges);
  let window: Block = { at: 0, bytes: new Uint8Array(0) };
  const end = () => window.at + window.bytes.length;
  const take = async (start: number, stop: number): Promise<Uint8Array<ArrayBuffer>> => {
    while (!(window.at <= start && stop <= end())) {
      const parts: Uint8Array[] = [];
      // The available part of it.
      const kept = start >= window.at && start < end() ? window.bytes.subarray(start - window.at) : undefined;
      if (kept) parts.push(kept);
      let at = kept ? start : -1;
      let length = kept?.length ?? 0;
      while (at < 0 || at + length < stop) {
        const { value: block, done } = await blocks.next();
        if (done) return source.read(start, stop);
        if (at < 0 || block.at !== at + length) {
          parts.length = 0;
          [at, length] = [block.at, 0];
        }
        parts.push(block.bytes);
        length += block.bytes.length;
        // Not yet available.
        if (at + length <= start) at = -1;
      }
      window = { at, bytes: joined(parts, length) };
      if (at > start) return source.read(start, stop);
    }
    return window.bytes.slice(start - window.at, stop - window.at);
  };
  let last: Promise<unknown> = Promise.resolve();
  return {
    size: source.size,
    read(start, stop) {
      const bytes = last.then(() => take(start, stop));
      // Reported to whoever requested it.
      last = bytes.catch(() => {});
      return bytes;
    },
    async close() {
      await blocks.return(undefined);
      await source.close();
    },
  };
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

import { setTimeout as sleep } from 'node:timers/promises';
import { Refusal } from '../errors/refusal.js';
import { type Asked, type HubSettings, hubFetch, hubSettings, mayPass, type Patience } from '../hub/request.js';
import { KeptRanges } from './kept-ranges.js';

/** A file of a data set of the hub at a commit; plain data, which crosses between threads. */
export interface RemotePlace {
  /** hf:owner/name@commit/path, for messages. */
  readonly name: string;
  readonly url: string;
  readonly bytes: number;
  readonly asked: Asked;
  readonly patience: Patience;
  /** Directory of what is kept of it, where that is asked for; and is nothing else of it read? */
  readonly cache?: string;
  readonly offline?: boolean;
}

/** Where a file lies: its path, - for standard input, or on the hub. */
export type FilePlace = string | RemotePlace;

export const placeName = (place: FilePlace): string =>
  typeof place !== 'string' ? place.name : place === '-' ? 'standard input' : place;

/** A file that can be read anywhere. */
export interface ByteSource {
  /** Bytes. */
  readonly size: number;
  /** Bytes `start` … `end` − 1, in newly allocated memory. @throws where there are fewer */
  read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
  close(): Promise<void>;
}

/** Bytes that are asked for at a time: first, and at most; and requests that are under way ahead of the reader. */
const [FIRST_BLOCK, BLOCK, AHEAD] = [2 ** 16, 2 ** 20, 6];
/** Milliseconds between attempts, at most. */
const LONGEST_DELAY = 30_000;

/**
 * A file that is read in parts by HTTP range requests. The access token goes to the hub's own origin alone; storage that
 * the hub redirects to is asked directly from then on, as long as it answers. What breaks off is continued where it did.
 */
export class RemoteFile implements ByteSource {
  private readonly fetch: typeof globalThis.fetch;
  /** Where the hub last redirected to. */
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

  /** Asks for a part, again and again where that may help. */
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
        // Addresses of storage are signed, and end.
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
      `Bytes ${start} to ${end - 1} of ${this.place.name} are not in ${this.place.cache}, and the hub is not to be asked (--offline).`,
      'Run once with --cache-corpus where there is a network, with the same --seed.',
      'corpus/not-kept',
    );
  }

  /** Asks for what is missing of a part, once. */
  private async fill(part: Part, target: string): Promise<void> {
    const { bytes, start } = part;
    const from = start + part.filled;
    const last = start + bytes.length - 1;
    // A packed answer would have other bytes.
    const headers = { range: `bytes=${from}-${last}`, 'accept-encoding': 'identity' };
    const response = await this.fetch(target, { headers });
    try {
      this.checkAnswer(response, from, last);
      if (response.redirected) this.target = response.url;
      for await (const chunk of response.body ?? []) {
        if (chunk.length > bytes.length - part.filled) throw this.lying('it sends more bytes than were asked for');
        bytes.set(chunk, part.filled);
        part.filled += chunk.length;
      }
    } finally {
      await response.body?.cancel().catch(() => {});
    }
    if (part.filled < bytes.length) throw new Error('it sends less than was asked for');
  }

  private checkAnswer({ status, headers }: Response, from: number, last: number): void {
    if (status === 200 && from === 0 && last === this.size - 1) return;
    if (status !== 206) throw this.lying('it sends no parts of files (HTTP range requests)');
    const [, first, end, size] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(headers.get('content-range') ?? '') ?? [];
    if (Number(first) !== from || !(Number(end) >= from && Number(end) <= last))
      throw this.lying('it sends another part than was asked for');
    if (size !== '*' && Number(size) !== this.size)
      throw this.lying(`the file has ${size} bytes there, and the hub lists ${this.size}`);
  }

  private lying(what: string): Refusal {
    return new Refusal(
      `The server of ${this.place.name} does not answer as storage of the hub does: ${what}.`,
      'Try again, or download the files and give their directory.',
      'corpus/wrong-answer',
    );
  }

  private brokeOff(at: number, trouble: unknown): Refusal {
    if (trouble instanceof Refusal && at === 0) return trouble;
    const reason = trouble instanceof Error ? trouble.message.replace(/\.$/, '') : String(trouble);
    return new Refusal(
      `Reading ${this.place.name} breaks off at byte ${at} of ${this.size}: ${reason}.`,
      'Give the same command again when the network is back (harvest and train: with --resume).',
      'corpus/stream-broke-off',
      { cause: trouble },
    );
  }
}

/** Bytes on their way. */
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

/** From byte … to byte, the last left out. */
export type ByteRange = readonly [start: number, end: number];

/** The bytes of ranges in their order, in blocks, several of which are on their way while one is worked on. */
export async function* readAhead(source: ByteSource, ranges: Iterable<ByteRange>): AsyncGenerator<Block> {
  const coming: Promise<Block>[] = [];
  const blocks = blocksOf(ranges);
  const ask = () => {
    const { value, done } = blocks.next();
    if (done) return;
    const [at, end] = value;
    const block = source.read(at, end).then((bytes) => ({ at, bytes }));
    // Told to whoever waits for it; nobody may.
    block.catch(() => {});
    coming.push(block);
  };
  // Whoever reads on gets more ahead; whoever looks at a beginning has asked for little.
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
 * A source whose reads are known beforehand: they go forward through ranges in this order, which are read ahead. What
 * is read outside of them is asked for by itself. Reads that are asked for together come one after the other.
 */
export function alongRanges(source: ByteSource, ranges: readonly ByteRange[]): ByteSource {
  const blocks = readAhead(source, ranges);
  let window: Block = { at: 0, bytes: new Uint8Array(0) };
  const end = () => window.at + window.bytes.length;
  const take = async (start: number, stop: number): Promise<Uint8Array<ArrayBuffer>> => {
    while (!(window.at <= start && stop <= end())) {
      const parts: Uint8Array[] = [];
      // What is there of it.
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
        // Not there yet.
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
      // Told to whoever asked.
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

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { Decompress } from 'fzstd';
import { openRegular } from '../disk/input-file.js';
import { formatBytes } from '../disk/space.js';
import { Refusal } from '../errors/refusal.js';
import { openStandardInput } from './piped-bytes.js';
import { type FilePlace, placeName, remoteBytes } from './remote-file.js';

/** Bytes read or decompressed at a time. */
const UNPACKED_CHUNK = 65_536;

/** How a file is compressed, from its extension. */
export type Packing = 'gzip' | 'zstd' | 'none';

/**
 * The decompressed bytes of a file, in chunks of at most 128 KiB. Stopping early closes everything.
 *
 * @param from first byte, for an uncompressed file
 * @throws Refusal if it cannot be read to its end, or is damaged
 */
export async function* unpacked(place: FilePlace, packing: Packing, from = 0): AsyncGenerator<Buffer> {
  const file = placeName(place);
  const raw = await streamOf(place, from);
  try {
    if (packing === 'gzip') yield* gunzipped(place, raw);
    else if (packing === 'zstd') yield* unpackZstd(raw as AsyncIterable<Buffer>, file);
    else yield* raw as AsyncIterable<Buffer>;
  } catch (cause) {
    throw cause instanceof Refusal ? cause : broken(file, cause, packing);
  } finally {
    raw.destroy();
  }
}

/** Opens a hub file or a regular file, never anything else that replaced it. */
async function streamOf(path: FilePlace, start = 0): Promise<Readable> {
  if (path === '-') return openStandardInput(UNPACKED_CHUNK);
  if (typeof path !== 'string') return Readable.from(remoteBytes(path, start), { objectMode: true, highWaterMark: 1 });
  const opened = await openRegular(path);
  if (!opened)
    throw new Refusal(
      `${path} does not exist.`,
      'Check the path; it existed when the corpus was listed.',
      'corpus/vanished',
    );
  return opened.handle.createReadStream({ highWaterMark: UNPACKED_CHUNK, start });
}

async function* gunzipped(place: FilePlace, raw: Readable): AsyncGenerator<Buffer> {
  const unzip = createGunzip({ chunkSize: UNPACKED_CHUNK });
  // pipeline passes an error of either stream to the reader of `unzip`.
  const piped = pipeline(raw, unzip).catch((error) => unzip.destroy(error));
  try {
    yield* unzip as AsyncIterable<Buffer>;
    await piped;
  } finally {
    // An early stop does not depend on how the file ends.
    unzip.on('error', () => {});
    unzip.destroy();
    raw.destroy();
  }
  await checkRest(place, unzip.bytesWritten);
}

/**
 * zlib ends at a zero byte after a member, since tapes are padded with zeros. Anything else there would be silently
 * dropped.
 */
async function checkRest(place: FilePlace, from: number): Promise<void> {
  for await (const chunk of await streamOf(place, from)) {
    if ((chunk as Buffer).some((byte) => byte !== 0)) throw new Error('bytes after its compressed text are not gzip');
  }
}

function broken(file: string, cause: unknown, packing: Packing): Refusal {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const packed =
    packing !== 'none' && (cause instanceof BrokenZstd || (cause as NodeJS.ErrnoException).syscall === undefined);
  return new Refusal(
    `${file} could not be read to its end: ${reason}.`,
    packed ? 'Download or compress the file again.' : 'Check the file and its permissions.',
    'corpus/cut-short',
    { cause },
  );
}

/** Max window of a frame: this much of the text is kept in memory. Same limit as the zstd program. */
const MOST_WINDOW = 2 ** 27;
/** Max bytes of a block, compressed or not (RFC 8878, section 3.1.1.2.4). */
const MOST_BLOCK = 2 ** 17;
const ZSTD_MAGIC = 0xfd2fb528;
/** Magic number of a skippable frame; its last four bits are arbitrary. */
const SKIPPABLE = 0x184d2a50;

/** Invalid Zstandard data. */
class BrokenZstd extends Error {}

/**
 * Decompresses consecutive Zstandard frames (RFC 8878), one block of at most 128 KiB at a time: a few bytes may expand
 * to any length. Checksums are verified if present.
 *
 * @throws BrokenZstd if the data are truncated or damaged
 * @throws Refusal if a frame needs a dictionary, or more memory than allowed
 */
export async function* unpackZstd(source: AsyncIterable<Buffer>, file: string): AsyncGenerator<Buffer> {
  const input = new ByteReader(source);
  try {
    if (await input.atEnd()) throw new BrokenZstd('it is empty');
    while (!(await input.atEnd())) {
      const magic = (await input.take(4)).readUInt32LE();
      if (magic >>> 4 === SKIPPABLE >>> 4) await input.skip((await input.take(4)).readUInt32LE());
      else if (magic === ZSTD_MAGIC) yield* unpackFrame(input, file);
      else throw new BrokenZstd('the data are not Zstandard');
    }
  } finally {
    await input.close();
  }
}

async function* unpackFrame(input: ByteReader, file: string): AsyncGenerator<Buffer> {
  const { header, checked } = await readFrameHeader(input, file);
  const blocks: Buffer[] = [];
  // Declared as bytes of any buffer; the output is newly allocated.
  const unpacker = new Decompress((block) =>
    blocks.push(Buffer.from(block.buffer as ArrayBuffer, block.byteOffset, block.byteLength)),
  );
  const hash = checked ? new Xxh64() : undefined;
  let pending: Buffer = header;
  for (let last = false; !last; ) {
    const head = await input.take(3);
    last = (head[0]! & 1) === 1;
    const size = head.readUIntLE(0, 3) >>> 3;
    const repeated = ((head[0]! >> 1) & 3) === 1;
    if (size > MOST_BLOCK) throw new BrokenZstd('a block is too long');
    const body = await input.take(repeated ? 1 : size);
    try {
      unpacker.push(Buffer.concat([pending, head, body]), last);
    } catch (cause) {
      throw new BrokenZstd((cause as Error).message);
    }
    pending = Buffer.alloc(0);
    for (const block of blocks.splice(0)) {
      hash?.update(block);
      if (block.length > 0) yield block;
    }
  }
  if (hash && (await input.take(4)).readUInt32LE() !== hash.digest())
    throw new BrokenZstd('its checksum does not match');
}

/** Magic number and header of a frame with the checksum flag cleared: the checksum is verified here. */
async function readFrameHeader(input: ByteReader, file: string): Promise<{ header: Buffer; checked: boolean }> {
  const [descriptor] = (await input.take(1)) as unknown as [number];
  const single = (descriptor >> 5) & 1;
  const dictionary = [0, 1, 2, 4][descriptor & 3]!;
  const content = [single, 2, 4, 8][descriptor >> 6]!;
  const rest = await input.take(1 - single + dictionary + content);
  const id = rest.subarray(1 - single, 1 - single + dictionary);
  if (id.some((byte) => byte !== 0)) {
    throw new Refusal(
      `${file} was compressed with a dictionary.`,
      'Compress it without one: zstd file.',
      'corpus/zstd-dictionary',
    );
  }
  const size = rest.subarray(rest.length - content);
  const window = single ? contentSize(size) : windowSize(rest[0]!);
  if (window > MOST_WINDOW) {
    throw new Refusal(
      `${file} needs a window of ${formatBytes(window)} to be unpacked, and at most ${formatBytes(MOST_WINDOW)} is allowed.`,
      'Compress it without --ultra and --long, or with at most --long=27.',
      'corpus/zstd-window',
    );
  }
  const header = Buffer.alloc(5 + rest.length);
  header.writeUInt32LE(ZSTD_MAGIC);
  header[4] = descriptor & ~4;
  rest.copy(header, 5);
  return { header, checked: (descriptor & 4) !== 0 };
}

/**
 * Checks the first frame of data that will be decompressed in one go, for which the declared amount of memory is
 * allocated.
 *
 * @param most max decompressed bytes
 */
export function checkFrame(data: Uint8Array, most: number): void {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (bytes.length < 6 || bytes.readUInt32LE() !== ZSTD_MAGIC) throw new BrokenZstd('a page is not Zstandard');
  const descriptor = bytes[4]!;
  const single = (descriptor >> 5) & 1;
  const content = [single, 2, 4, 8][descriptor >> 6]!;
  const at = 6 - single + [0, 1, 2, 4][descriptor & 3]!;
  const whole = content > 0 ? contentSize(bytes.subarray(at, at + content)) : windowSize(bytes[5]!);
  if (content > 0 ? whole > most : whole > Math.max(most, MOST_WINDOW))
    throw new BrokenZstd('a page is longer than declared');
}

function windowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

function contentSize(bytes: Buffer): number {
  if (bytes.length === 8) return Number(bytes.readBigUInt64LE());
  return bytes.readUIntLE(0, bytes.length) + (bytes.length === 2 ? 256 : 0);
}

/** Reads a stream by numbers of bytes. */
class ByteReader {
  private readonly source: AsyncIterator<Buffer>;
  private chunk: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.source = source[Symbol.asyncIterator]();
  }

  async atEnd(): Promise<boolean> {
    while (this.chunk.length === 0) {
      const { value, done } = await this.source.next();
      if (done) return true;
      this.chunk = value;
    }
    return false;
  }

  async take(count: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    let missing = count;
    while (missing > 0) {
      if (await this.atEnd()) throw new BrokenZstd('it ends too early');
      const part = this.chunk.subarray(0, missing);
      parts.push(part);
      missing -= part.length;
      this.chunk = this.chunk.subarray(part.length);
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0; ) left -= (await this.take(Math.min(left, 65_536))).length;
  }

  async close(): Promise<void> {
    await this.source.return?.();
  }
}

const P1 = 0x9e3779b185ebca87n;
const P2 = 0xc2b2ae3d27d4eb4fn;
const P3 = 0x165667b19e3779f9n;
const P4 = 0x85ebca77c2b2ae63n;
const P5 = 0x27d4eb2f165667c5n;

const u64 = (value: bigint) => BigInt.asUintN(64, value);
const rotated = (value: bigint, by: bigint) => u64((value << by) | (value >> (64n - by)));
const round = (sum: bigint, lane: bigint) => u64(rotated(u64(sum + lane * P2), 31n) * P1);

const STRIPE = 32;

/** XXH64 with seed 0, as used in Zstandard frames. https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md */
export class Xxh64 {
  private readonly sums: [bigint, bigint, bigint, bigint] = [u64(P1 + P2), P2, 0n, u64(-P1)];
  private rest: Buffer = Buffer.alloc(0);
  private length = 0;

  update(chunk: Buffer): void {
    this.length += chunk.length;
    const bytes = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    let at = 0;
    let [a, b, c, d] = this.sums;
    for (; at + STRIPE <= bytes.length; at += STRIPE) {
      a = round(a, bytes.readBigUInt64LE(at));
      b = round(b, bytes.readBigUInt64LE(at + 8));
      c = round(c, bytes.readBigUInt64LE(at + 16));
      d = round(d, bytes.readBigUInt64LE(at + 24));
    }
    this.sums.splice(0, 4, a, b, c, d);
    this.rest = Buffer.from(bytes.subarray(at));
  }

  /** The lower 32 bits. */
  digest(): number {
    let hash = u64(this.merged() + BigInt(this.length));
    const { rest } = this;
    let at = 0;
    for (; at + 8 <= rest.length; at += 8) {
      hash = u64(rotated(hash ^ round(0n, rest.readBigUInt64LE(at)), 27n) * P1 + P4);
    }
    if (at + 4 <= rest.length) {
      hash = u64(rotated(hash ^ u64(BigInt(rest.readUInt32LE(at)) * P1), 23n) * P2 + P3);
      at += 4;
    }
    for (; at < rest.length; at++) hash = u64(rotated(hash ^ u64(BigInt(rest[at]!) * P5), 11n) * P1);
    hash = u64((hash ^ (hash >> 33n)) * P2);
    hash = u64((hash ^ (hash >> 29n)) * P3);
    return Number((hash ^ (hash >> 32n)) & 0xffffffffn);
  }

  private merged(): bigint {
    if (this.length < STRIPE) return P5;
    const [a, b, c, d] = this.sums;
    const sum = u64(rotated(a, 1n) + rotated(b, 7n) + rotated(c, 12n) + rotated(d, 18n));
    return [a, b, c, d].reduce((hash, lane) => u64((hash ^ round(0n, lane)) * P1 + P4), sum);
  }
}

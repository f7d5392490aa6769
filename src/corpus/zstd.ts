import { Decompress } from 'fzstd';
import { Refusal } from '../config/refusal.js';
import { formatBytes } from '../disk/free-space.js';
import { Xxh64 } from './xxh64.js';

/** Window of a frame, at most: as much of the text is kept in memory. The zstd program's own bound is the same. */
const MOST_WINDOW = 2 ** 27;
/** Bytes of a block, packed or not, at most (RFC 8878, section 3.1.1.2.4). */
const MOST_BLOCK = 2 ** 17;
const MAGIC = 0xfd2fb528;
/** Of a frame to be passed over; the last four bits are free. */
const SKIPPABLE = 0x184d2a50;

/** What is wrong with Zstandard data. */
export class BrokenZstd extends Error {}

/**
 * Unpacks Zstandard frames (RFC 8878), one after another, a block of at most 128 KiB at a time: a few bytes may unpack
 * to any length. Checksums are compared where frames have them.
 *
 * @throws BrokenZstd where the data end early, or are damaged
 * @throws Refusal where a frame needs a dictionary, or more memory than is allowed
 */
export async function* unpackZstd(source: AsyncIterable<Buffer>, file: string): AsyncGenerator<Buffer> {
  const input = new ByteReader(source);
  try {
    if (await input.atEnd()) throw new BrokenZstd('it is empty');
    while (!(await input.atEnd())) {
      const magic = (await input.take(4)).readUInt32LE();
      if (magic >>> 4 === SKIPPABLE >>> 4) await input.skip((await input.take(4)).readUInt32LE());
      else if (magic === MAGIC) yield* unpackFrame(input, file);
      else throw new BrokenZstd('what comes is not Zstandard');
    }
  } finally {
    await input.close();
  }
}

async function* unpackFrame(input: ByteReader, file: string): AsyncGenerator<Buffer> {
  const { header, checked } = await readHeader(input, file);
  const blocks: Buffer[] = [];
  // Declared as unsigned bytes of any buffer; what it gives is memory of its own.
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

/** Magic number and header of a frame, the flag for a checksum taken out: the checksum is compared here. */
async function readHeader(input: ByteReader, file: string): Promise<{ header: Buffer; checked: boolean }> {
  const [descriptor] = (await input.take(1)) as unknown as [number];
  const single = (descriptor >> 5) & 1;
  const dictionary = [0, 1, 2, 4][descriptor & 3]!;
  const content = [single, 2, 4, 8][descriptor >> 6]!;
  const rest = await input.take(1 - single + dictionary + content);
  const id = rest.subarray(1 - single, 1 - single + dictionary);
  if (id.some((byte) => byte !== 0)) {
    throw new Refusal(`${file} was compressed with a dictionary.`, 'Compress it without one: zstd file.');
  }
  const size = rest.subarray(rest.length - content);
  const window = single ? contentSize(size) : windowSize(rest[0]!);
  if (window > MOST_WINDOW) {
    throw new Refusal(
      `${file} needs a window of ${formatBytes(window)} to be unpacked, and at most ${formatBytes(MOST_WINDOW)} is allowed.`,
      'Compress it without --ultra and --long, or with --long=27 at most.',
    );
  }
  const header = Buffer.alloc(5 + rest.length);
  header.writeUInt32LE(MAGIC);
  header[4] = descriptor & ~4;
  rest.copy(header, 5);
  return { header, checked: (descriptor & 4) !== 0 };
}

/**
 * Checks the first frame of data that will be unpacked at once, for which as much memory is reserved as it says.
 *
 * @param most bytes that it may unpack to
 */
export function checkFrame(data: Uint8Array, most: number): void {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (bytes.length < 6 || bytes.readUInt32LE() !== MAGIC) throw new BrokenZstd('a page is not Zstandard');
  const descriptor = bytes[4]!;
  const single = (descriptor >> 5) & 1;
  const content = [single, 2, 4, 8][descriptor >> 6]!;
  const at = 6 - single + [0, 1, 2, 4][descriptor & 3]!;
  const whole = content > 0 ? contentSize(bytes.subarray(at, at + content)) : windowSize(bytes[5]!);
  if (content > 0 ? whole > most : whole > Math.max(most, MOST_WINDOW))
    throw new BrokenZstd('a page is longer than it says');
}

function windowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

function contentSize(bytes: Buffer): number {
  if (bytes.length === 8) return Number(bytes.readBigUInt64LE());
  return bytes.readUIntLE(0, bytes.length) + (bytes.length === 2 ? 256 : 0);
}

/** Bytes of a stream, so many at a time. */
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

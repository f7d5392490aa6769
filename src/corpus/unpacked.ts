import type { ReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { Refusal } from '../config/refusal.js';
import { openRegular } from '../disk/regular-file.js';
import { BrokenZstd, unpackZstd } from './zstd.js';

/** Bytes that are read, or unpacked, at a time. */
const CHUNK = 65_536;

/** How a file is packed, as its ending says. */
export type Packing = 'gzip' | 'zstd' | 'none';

/**
 * The bytes of a file, unpacked, in chunks of at most 128 KiB. Whoever stops reading early leaves nothing open.
 *
 * @throws Refusal where it cannot be read to its end, or is damaged
 */
export async function* unpacked(file: string, packing: Packing): AsyncGenerator<Buffer> {
  const raw = await streamOf(file);
  try {
    if (packing === 'gzip') yield* gunzipped(file, raw);
    else if (packing === 'zstd') yield* unpackZstd(raw as AsyncIterable<Buffer>, file);
    else yield* raw as AsyncIterable<Buffer>;
  } catch (cause) {
    throw cause instanceof Refusal ? cause : broken(file, cause, packing);
  } finally {
    raw.destroy();
  }
}

/** Of a regular file, which nothing else can have taken the place of. */
async function streamOf(path: string, start = 0): Promise<ReadStream> {
  const opened = await openRegular(path);
  if (!opened)
    throw new Refusal(`There is no file ${path}.`, 'Check the path; it was there when the corpus was listed.');
  return opened.handle.createReadStream({ highWaterMark: CHUNK, start });
}

async function* gunzipped(file: string, raw: ReadStream): AsyncGenerator<Buffer> {
  const unzip = createGunzip({ chunkSize: CHUNK });
  // pipeline hands an error of either stream to the reader of `unzip`.
  const piped = pipeline(raw, unzip).catch((error) => unzip.destroy(error));
  try {
    yield* unzip as AsyncIterable<Buffer>;
    await piped;
  } finally {
    // Who stops reading early does not care how the file ends.
    unzip.on('error', () => {});
    unzip.destroy();
    raw.destroy();
  }
  await checkRest(file, unzip.bytesWritten);
}

/** zlib ends at a zero byte after a member: tapes are padded so. Anything else there would be dropped without a word. */
async function checkRest(file: string, from: number): Promise<void> {
  for await (const chunk of await streamOf(file, from)) {
    if ((chunk as Buffer).some((byte) => byte !== 0)) throw new Error('bytes after its compressed text are not gzip');
  }
}

function broken(file: string, cause: unknown, packing: Packing): Refusal {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const packed =
    packing !== 'none' && (cause instanceof BrokenZstd || (cause as NodeJS.ErrnoException).syscall === undefined);
  return new Refusal(
    `${file} could not be read to its end: ${reason}.`,
    packed ? 'Fetch or compress the file again.' : 'Check the file and its permissions.',
    { cause },
  );
}

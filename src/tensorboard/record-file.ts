import { type FileHandle, open } from 'node:fs/promises';
import { maskedCrc32c } from './crc32c.js';

/** Bytes of a record's length with its checksum, and of the checksum of its data. */
const [HEAD, TAIL] = [12, 4];
/** Max bytes of a record; ours have a few KiB. */
const MOST_RECORD = 2 ** 24;
/** Bytes read at a time. */
const WINDOW = 2 ** 20;

/** A record in TensorFlow's TFRecord format: length, its checksum, data, their checksum. */
export function framed(data: Uint8Array): Buffer {
  const record = Buffer.alloc(HEAD + data.length + TAIL);
  record.writeBigUInt64LE(BigInt(data.length));
  record.writeUInt32LE(maskedCrc32c(record.subarray(0, 8)), 8);
  record.set(data, HEAD);
  record.writeUInt32LE(maskedCrc32c(data), HEAD + data.length);
  return record;
}

/** The records of a file with the offset at which each ends, up to the first torn or damaged one. */
export async function* recordsOfFile(path: string): AsyncGenerator<{ data: Buffer; end: number }> {
  const file = await open(path, 'r');
  try {
    let window: Buffer = Buffer.alloc(0);
    for (let at = 0; ; ) {
      if (window.length < HEAD) window = await readAt(file, at, WINDOW);
      const length = window.length < HEAD ? MOST_RECORD + 1 : Number(window.readBigUInt64LE());
      if (length > MOST_RECORD || window.readUInt32LE(8) !== maskedCrc32c(window.subarray(0, 8))) return;
      const size = HEAD + length + TAIL;
      if (window.length < size) window = await readAt(file, at, Math.max(WINDOW, size));
      if (window.length < size) return;
      const data = window.subarray(HEAD, HEAD + length);
      if (window.readUInt32LE(HEAD + length) !== maskedCrc32c(data)) return;
      at += size;
      window = window.subarray(size);
      yield { data, end: at };
    }
  } finally {
    await file.close();
  }
}

async function readAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, at + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

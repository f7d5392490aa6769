import { Writable } from 'node:stream';
import type { Manifest } from '../../src/activations/manifest.js';
import { type StreamHeader, streamHeader, writeStream } from '../../src/activations/row-stream.js';
import type { Rows } from '../../src/activations/rows.js';
import { emptyManifest } from './synthetic.js';

const never = { signal: undefined };

export const D = 3;

/** The header of a stream of `rows` rows, at most 10 in a record batch. */
export function headerOf(rows: number, settings: Partial<Manifest> = {}): StreamHeader {
  return streamHeader(emptyManifest(rows, { d_in: D, ...settings }));
}

export async function* each<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

/** A stream as its bytes. */
export async function streamBytes(header: StreamHeader, pieces: Iterable<Rows>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const out = new Writable({
    write(chunk, _, done) {
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  await writeStream(out, header, each(pieces), 'out', never);
  return Buffer.concat(chunks);
}

/** Bytes as a pipe gives them, in chunks of a size. */
export async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { memoryFor } from '../disk/reading-memory.js';
import { stampOfPieces } from '../disk/stamped-file.js';
import { Refusal } from '../errors/refusal.js';
import { firstNotFinite } from '../safetensors/floats.js';
import type { Certificate, CheckRequest } from './checked-shards.js';

// Hashes and checks shard files, which the calling thread reads as well: transferring memory between threads makes V8
// collect garbage, and shared memory is slow to copy from. Loads neither Arrow nor a whole file.

if (!parentPort) throw new Error('shard-check-worker.js runs in a worker thread');
const port = parentPort;
/** Bytes read at a time: few enough to stay in the cache until they are hashed and checked. */
const memory = memoryFor(2 ** 18);

port.on('message', (request: CheckRequest) => {
  certificateOf(request).then((certificate) => port.postMessage(certificate));
});

async function certificateOf({ path, values, dtype }: CheckRequest): Promise<Certificate | null> {
  const hash = createHash('sha256');
  const size = dtype === 'float32' ? 4 : 2;
  let finite = values.from % size === 0;
  const take = (piece: Uint8Array, at: number) => {
    hash.update(piece);
    const [from, end] = [Math.max(values.from, at), Math.min(values.end, at + piece.length)];
    if (!finite || from >= end) return;
    const Entries = dtype === 'float32' ? Float32Array : Uint16Array;
    const entries = new Entries(memory.buffer, memory.byteOffset + from - at, (end - from) / size);
    finite = firstNotFinite(entries, dtype) < 0;
  };
  try {
    const stamp = await stampOfPieces(path, memory, take);
    return stamp && finite ? { stamp, sha256: hash.digest('hex') } : null;
  } catch (error) {
    // The calling thread then checks the bytes that it has read, and reports what is wrong.
    if (error instanceof Refusal) return null;
    throw error;
  }
}

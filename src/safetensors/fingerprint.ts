import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { refusedRead } from '../disk/input-file.js';
import type { TensorLocation } from './file.js';

/**
 * Version of the rule below. Fingerprints of different versions cannot be compared; those without a number are version
 * 1.
 */
const FINGERPRINT_VERSION = 2;

/** Tensors up to this many bytes are hashed completely: all norms, and everything in a small model. */
const WHOLE = 2 ** 22;
/** For a larger one, SAMPLE bytes at every multiple of STRIDE, and its last SAMPLE bytes. */
const STRIDE = 2 ** 20;
const SAMPLE = 4096;
/** Samples read at a time. */
const AT_A_TIME = 64;

/**
 * Identity of a model, that is, of the function from tokens to activations and logits: SHA-256 over the settings in
 * config.json that affect it, and over name, type, shape and samples of every tensor of the language model, by name. It
 * does not depend on the model's location, on how it is sharded, or on unused tensors. A difference in a run longer
 * than STRIDE cannot go unnoticed; hashing all 17 GB would add a minute to every command. The tokenizer is excluded:
 * token ids themselves are hashed wherever a text must be the same.
 *
 * @param shape settings in config.json that affect the model's output, in canonical form
 * @param tensors by their names without prefix
 * @returns "2:" and 64 hexadecimal digits
 */
export async function fingerprint(shape: string, tensors: ReadonlyMap<string, TensorLocation>): Promise<string> {
  const hash = createHash('sha256').update(shape);
  const files = new Map<string, FileHandle>();
  try {
    for (const [name, location] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const { path, dtype } = location;
      hash.update(`\n${JSON.stringify([name, dtype, location.shape])}\n`);
      const file = files.get(path) ?? (await open(path));
      files.set(path, file);
      for await (const sample of samples(file, location)) hash.update(sample);
    }
  } finally {
    for (const file of files.values()) await file.close();
  }
  return `${FINGERPRINT_VERSION}:${hash.digest('hex')}`;
}

async function* samples(file: FileHandle, { path, offset, length }: TensorLocation): AsyncGenerator<Uint8Array> {
  const read = async (at: number, bytes: number) => {
    const sample = Buffer.alloc(bytes);
    const { bytesRead } = await file.read(sample, 0, bytes, offset + at).catch((cause) => {
      throw refusedRead(path, cause);
    });
    return sample.subarray(0, bytesRead);
  };
  if (length <= WHOLE) return yield read(0, length);
  const places = Array.from({ length: Math.ceil((length - SAMPLE) / STRIDE) }, (_, i) => i * STRIDE);
  places.push(length - SAMPLE);
  for (let first = 0; first < places.length; first += AT_A_TIME) {
    yield* await Promise.all(places.slice(first, first + AT_A_TIME).map((at) => read(at, SAMPLE)));
  }
}

/** Compares two models by fingerprint; incomparable if the versions differ. */
export function compareFingerprints(a: string, b: string): 'same' | 'different' | 'incomparable' {
  if (a === b) return 'same';
  return versionOf(a) === versionOf(b) ? 'different' : 'incomparable';
}

const versionOf = (fingerprint: string) => /^(\d+):/.exec(fingerprint)?.[1] ?? '1';

/** Abbreviated fingerprint for messages. */
export const shortFingerprint = (fingerprint: string) => `${fingerprint.slice(0, 14)}…`;

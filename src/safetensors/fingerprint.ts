import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { refusedRead } from '../disk/input-file.js';
import type { TensorLocation } from './file.js';

/** Of the rule below. Fingerprints of different versions cannot be compared; those without a number are of version 1. */
const FINGERPRINT_VERSION = 2;

/** Tensors of at most this many bytes are hashed whole: all norms, and everything of a small model. */
const WHOLE = 2 ** 22;
/** Of a larger one, SAMPLE bytes at every multiple of STRIDE, and its last SAMPLE. */
const STRIDE = 2 ** 20;
const SAMPLE = 4096;
/** Samples that are read together. */
const AT_A_TIME = 64;

/**
 * Identity of a model, i.e. of the function from tokens to activations and logits: SHA-256 over what of config.json
 * shapes the function, and over name, type, shape and samples of every tensor of the language model, by name. It does not
 * depend on where the model lies, on how it is cut into files, or on tensors that are not used. Nothing larger than
 * STRIDE can differ unnoticed; hashing 17 GB whole would take a minute of every command. The tokenizer is left out: the
 * tokens themselves are hashed wherever a text must be the same.
 *
 * @param shape what of config.json changes what the model computes, written in one way
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

/** What two fingerprints say of two models: nothing where they are of different versions. */
export function compareFingerprints(a: string, b: string): 'same' | 'different' | 'incomparable' {
  if (a === b) return 'same';
  return versionOf(a) === versionOf(b) ? 'different' : 'incomparable';
}

const versionOf = (fingerprint: string) => /^(\d+):/.exec(fingerprint)?.[1] ?? '1';

/** As much of a fingerprint as messages show. */
export const shortFingerprint = (fingerprint: string) => `${fingerprint.slice(0, 14)}…`;

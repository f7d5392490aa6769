import type { Generator } from '../../../src/random/generator.js';
import { pick } from './chance.js';

/** Numbers at the edges of what lengths and offsets may be. */
const EDGES = [0, 1, -1, 7, 255, 2 ** 15, 2 ** 16, 2 ** 24, 2 ** 30, 2 ** 31 - 1, -(2 ** 31), 100_000_000];

/** Bytes changed in one to four places: flipped, overwritten, cut, doubled, moved, filled with what is not there. */
export function mutateBytes(bytes: Buffer, random: Generator): Buffer {
  let changed: Buffer = Buffer.from(bytes);
  for (let left = 1 + random.below(4); left > 0; left--) changed = pick(random, CHANGES)(changed, random);
  return changed;
}

type Change = (bytes: Buffer, random: Generator) => Buffer;

const CHANGES: readonly Change[] = [
  (bytes, random) => {
    if (bytes.length > 0) bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
    return bytes;
  },
  (bytes, random) => {
    if (bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256);
    return bytes;
  },
  (bytes, random) => {
    if (bytes.length >= 4) bytes.writeInt32LE(pick(random, EDGES), random.below(bytes.length - 3));
    return bytes;
  },
  // Formats align their lengths.
  (bytes, random) => {
    if (bytes.length >= 8) bytes.writeInt32LE(pick(random, EDGES), 4 * random.below((bytes.length >> 2) - 1));
    return bytes;
  },
  (bytes, random) => {
    if (bytes.length >= 8) {
      bytes.writeBigInt64LE(BigInt(pick(random, EDGES)) << BigInt(random.below(33)), random.below(bytes.length - 7));
    }
    return bytes;
  },
  (bytes, random) => bytes.subarray(0, random.below(bytes.length + 1)),
  (bytes, random) => {
    const [from, to] = range(bytes, random);
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
  },
  (bytes, random) => {
    const [from, to] = range(bytes, random);
    return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)]);
  },
  (bytes, random) => {
    const [from, to] = range(bytes, random);
    return bytes.fill(pick(random, [0, 255, 0x20]), from, to);
  },
  (bytes, random) => {
    const at = random.below(bytes.length + 1);
    const garbage = Buffer.from(Array.from({ length: 1 + random.below(64) }, () => random.below(256)));
    return Buffer.concat([bytes.subarray(0, at), garbage, bytes.subarray(at)]);
  },
];

function range(bytes: Buffer, random: Generator): [from: number, to: number] {
  const from = random.below(bytes.length + 1);
  return [from, Math.min(bytes.length, from + 1 + random.below(pick(random, [8, 64, 4096])))];
}

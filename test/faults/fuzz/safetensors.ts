import type { Generator } from '../../../src/random/generator.js';
import { mutateBytes } from './bytes.js';
import { oneIn, pick } from './chance.js';
import { mutateJson } from './json.js';

/** A safetensors file with its length, its header or its bytes changed; most often the header, as JSON. */
export function mutateSafetensors(file: Buffer, random: Generator, elsewhere: readonly string[]): Buffer {
  if (oneIn(random, 4)) return mutateBytes(file, random);
  const length = Number(file.readBigUInt64LE());
  const json = file.subarray(8, 8 + length).toString();
  const header = oneIn(random, 3) ? Buffer.from(lie(json, random)) : mutateJson(json, random, elsewhere);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(header.length));
  if (oneIn(random, 10)) prefix.writeBigUInt64LE(pick(random, [0n, 1n, 99_999_999n, 2n ** 40n, 2n ** 64n - 1n]));
  return Buffer.concat([prefix, header, file.subarray(8 + length)]);
}

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** A header that is well-formed and wrong: another type, another shape, offsets of other tensors, of none, of all. */
function lie(json: string, random: Generator): string {
  const header = JSON.parse(json) as Record<string, Entry>;
  const entries = Object.entries(header).filter(([name]) => name !== '__metadata__');
  const [name, entry] = pick(random, entries);
  const [, other] = pick(random, entries);
  const { shape, data_offsets: offsets } = entry;
  pick(random, [
    () => (entry.dtype = pick(random, ['F64', 'F16', 'BF16', 'I64', 'U8', 'BOOL', 'F8_E4M3', 'toString', '__proto__'])),
    () => entry.shape.reverse(),
    () => (entry.shape = [...shape, 1]),
    () => (entry.shape = [shape.reduce((a, b) => a * b, 1)]),
    () => (entry.shape = [2 ** 32, 2 ** 32, ...shape]),
    () => (entry.shape = [0, ...shape]),
    () => (entry.data_offsets = other.data_offsets),
    () => (entry.data_offsets = [offsets[1], offsets[0]]),
    () => (entry.data_offsets = [offsets[0] + 4, offsets[1] + 4]),
    () => (entry.data_offsets = [offsets[0] + 2 ** 40, offsets[1] + 2 ** 40]),
    () => Object.assign(header, { [`${name}x`]: entry }),
    () => Object.assign(header, { [name]: other }),
  ])();
  return JSON.stringify(header);
}

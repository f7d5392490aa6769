import { open, realpath, stat } from 'node:fs/promises';
import { z } from 'zod';
import { Refusal } from '../config/refusal.js';
import { checkInside } from '../disk/inside.js';
import { parseJson } from '../disk/parse-json.js';

/** Element types of the safetensors format that occur in checkpoints, with the bytes of one element. */
export const SAFETENSORS_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
  U16: 2,
  U32: 4,
  U64: 8,
} as const;
export type SafetensorsDType = keyof typeof SAFETENSORS_BYTES;

/** Where one tensor lies in its file. */
export interface TensorLocation {
  /** Absolute, symbolic links resolved: ONNX Runtime follows none. */
  readonly path: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly length: number;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The format's own limit on its JSON header. */
const HEADER_LIMIT = 100_000_000;

const entrySchema = z.object({
  dtype: z.string(),
  shape: z.array(z.number().int().nonnegative()),
  data_offsets: z.tuple([z.number().int().nonnegative(), z.number().int().nonnegative()]),
});

/**
 * Reads the header of a safetensors file: 8 bytes little-endian header length, that many bytes of JSON, then the data.
 * Offsets are checked against shapes, the file's size and one another, so that later reads need no checks.
 *
 * @throws Refusal when the file is missing, truncated or not what its header says
 */
export async function readSafetensorsHeader(path: string): Promise<SafetensorsHeader> {
  await checkInside(path);
  const { size, isFile } = await stat(path).then(
    (s) => ({ size: s.size, isFile: s.isFile() }),
    (cause) => {
      throw new Refusal(`There is no file ${path}.`, 'Check the path; a checkpoint needs its .safetensors file.', {
        cause,
      });
    },
  );
  if (!isFile) throw new Refusal(`${path} is not a file.`, 'A .safetensors file belongs there.');
  const broken = (what: string): never => {
    throw new Refusal(`${path} is not a whole safetensors file: ${what}.`, 'Download or save the file again.');
  };
  if (size < 8) broken(`it has ${size} bytes, fewer than the 8 of the header length`);
  const file = await open(path);
  let text: string;
  let dataStart: number;
  try {
    const prefix = Buffer.alloc(8);
    await file.read(prefix, 0, 8, 0);
    const length = prefix.readBigUInt64LE();
    if (length > BigInt(Math.min(size - 8, HEADER_LIMIT))) broken(`its header claims ${length} bytes of ${size - 8}`);
    const header = Buffer.alloc(Number(length));
    await file.read(header, 0, header.length, 8);
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(header);
    } catch {
      return broken('its header is not UTF-8');
    }
    dataStart = 8 + header.length;
  } finally {
    await file.close();
  }
  let json: Record<string, unknown>;
  try {
    json = z.record(z.string(), z.unknown()).parse(parseJson(text));
  } catch {
    return broken('its header is not a JSON object');
  }
  const metadata = z.record(z.string(), z.string()).safeParse(json.__metadata__ ?? {});
  if (!metadata.success) broken('its __metadata__ is not a map of strings');
  const location = await realpath(path);
  const tensors = new Map<string, TensorLocation>();
  for (const [name, value] of Object.entries(json)) {
    if (name === '__metadata__') continue;
    const entry = entrySchema.safeParse(value);
    if (!entry.success) return broken(`the header entry of tensor ${name} is malformed`);
    const { dtype, shape, data_offsets } = entry.data;
    if (!Object.hasOwn(SAFETENSORS_BYTES, dtype)) return broken(`tensor ${name} has the unknown element type ${dtype}`);
    const bytes = SAFETENSORS_BYTES[dtype as SafetensorsDType];
    const length = shape.reduce((product, dim) => product * dim, bytes);
    const [begin, end] = data_offsets;
    if (end - begin !== length) broken(`tensor ${name} spans ${end - begin} bytes where its shape needs ${length}`);
    if (dataStart + end > size) broken(`tensor ${name} ends at byte ${dataStart + end} of a file of ${size}`);
    tensors.set(name, { path: location, dtype: dtype as SafetensorsDType, shape, offset: dataStart + begin, length });
  }
  const ordered = [...tensors.entries()].sort(
    // Empty tensors first: they may share the offset of another and overlap nothing.
    ([, a], [, b]) => a.offset - b.offset || a.length - b.length,
  );
  for (let i = 1; i < ordered.length; i++) {
    const [before, first] = ordered[i - 1]!;
    const [after, second] = ordered[i]!;
    if (first.offset + first.length > second.offset) broken(`tensors ${before} and ${after} overlap`);
  }
  return { tensors, metadata: metadata.data ?? {} };
}

import { type FileHandle, realpath } from 'node:fs/promises';
import { openRegular, type RegularFile, refusedRead } from '../disk/input-file.js';
import { isJsonObject, parseJson } from '../disk/json.js';
import { writeAside } from '../disk/output-file.js';
import { formatBytes } from '../disk/space.js';
import { Refusal } from '../errors/refusal.js';

/** Location of a tensor in its file. */
export interface TensorLocation {
  /** Absolute path with symbolic links resolved: ONNX Runtime does not follow links. */
  readonly path: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** Byte offset from the start of the file. */
  readonly offset: number;
  readonly length: number;
}

interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Max bytes of JSON. The format allows 100 MB, a million tensors, whose objects could exceed a process's memory;
 * checkpoints with tens of thousands of tensors stay below this limit.
 */
const HEADER_LIMIT = 2 ** 22;

type Broken = (what: string) => never;

/**
 * Reads the header of a safetensors file: 8 bytes little-endian header length, that many bytes of JSON, then the data.
 * Offsets are checked against shapes, the file's size and each other, so that later reads need no checks. Files refused
 * by Hugging Face's reader are also refused here: tensors must fill the data without gaps, and nothing may follow them.
 *
 * @throws Refusal if the file is missing, truncated or inconsistent with its header
 */
export async function readSafetensorsHeader(path: string): Promise<SafetensorsHeader> {
  const file = await openRegular(path, 'A .safetensors file belongs there.');
  if (!file) {
    throw new Refusal(
      `${path} does not exist.`,
      'Check the path; a checkpoint needs its .safetensors file.',
      'safetensors/no-file',
    );
  }
  const broken: Broken = (what) => {
    throw new Refusal(
      `${path} is not a complete safetensors file: ${what}.`,
      'Download or save the file again.',
      'safetensors/broken',
    );
  };
  try {
    const header = await readHeaderBytes(file, broken);
    const { tensors, metadata } = parsedHeader(header, broken);
    const place = { path: await realpath(path), dataStart: 8 + header.length, size: file.size };
    const located = new Map<string, TensorLocation>();
    for (const [name, value] of tensors) located.set(name, locationOf(name, value, place, broken));
    checkCovered(located, place, broken);
    return { tensors: located, metadata };
  } catch (error) {
    throw refusedRead(path, error);
  } finally {
    await file.handle.close();
  }
}

async function readHeaderBytes({ path, handle, size }: RegularFile, broken: Broken): Promise<Buffer> {
  if (size < 8) return broken(`it has ${size} bytes, fewer than the 8 of the header length`);
  const prefix = Buffer.alloc(8);
  await handle.read(prefix, 0, 8, 0);
  const length = prefix.readBigUInt64LE();
  if (length > BigInt(size - 8)) return broken(`its header claims ${length} bytes of ${size - 8}`);
  if (length > BigInt(HEADER_LIMIT)) {
    throw new Refusal(
      `${path} has a header of ${formatBytes(Number(length))}, but at most ${formatBytes(HEADER_LIMIT)} are supported.`,
      'Check that it is a checkpoint; one with this many tensors must be saved in shards.',
      'safetensors/header-too-large',
    );
  }
  const header = Buffer.alloc(Number(length));
  const { bytesRead } = await handle.read(header, 0, header.length, 8);
  return bytesRead === header.length ? header : broken('it was truncated while being read');
}

/** The parsed JSON header, tensors by name. */
function parsedHeader(header: Buffer, broken: Broken) {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header);
  } catch {
    return broken('its header is not UTF-8');
  }
  let json: unknown;
  try {
    json = parseJson(text);
  } catch {
    return broken('its header is not a JSON object');
  }
  // Without a schema: zod takes ten seconds for a hundred thousand keys.
  if (!isJsonObject(json)) return broken('its header is not a JSON object');
  const { __metadata__: metadata } = json;
  if (metadata != null && !isTexts(metadata)) return broken('its __metadata__ is not a map of strings');
  return { metadata: metadata ?? {}, tensors: Object.entries(json).filter(([name]) => name !== '__metadata__') };
}

function isTexts(value: unknown): value is Record<string, string> {
  return isJsonObject(value) && Object.values(value).every((text) => typeof text === 'string');
}

interface HeaderEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

function isEntry(value: unknown): value is HeaderEntry {
  if (!isJsonObject(value)) return false;
  const { dtype, shape, data_offsets: offsets } = value;
  const sizes = (list: unknown) =>
    Array.isArray(list) && list.every((size) => Number.isSafeInteger(size) && (size as number) >= 0);
  return typeof dtype === 'string' && sizes(shape) && sizes(offsets) && (offsets as unknown[]).length === 2;
}

interface DataPlace {
  readonly path: string;
  /** Bytes before the data. */
  readonly dataStart: number;
  /** Bytes of the file. */
  readonly size: number;
}

function locationOf(
  name: string,
  value: unknown,
  { path, dataStart, size }: DataPlace,
  broken: Broken,
): TensorLocation {
  if (!isEntry(value)) return broken(`the header entry of tensor ${name} is malformed`);
  const { dtype, shape, data_offsets } = value;
  if (!isSafetensorsDType(dtype)) return broken(`tensor ${name} has the unknown element type ${dtype}`);
  const length = tensorBytes(dtype, shape);
  const [begin, end] = data_offsets;
  if (Number.isNaN(length)) return broken(`tensor ${name} has a shape of no whole number of bytes`);
  if (end - begin !== length) broken(`tensor ${name} spans ${end - begin} bytes, but its shape needs ${length}`);
  if (dataStart + end > size) broken(`tensor ${name} ends at byte ${dataStart + end} of a file of ${size}`);
  return { path, dtype, shape, offset: dataStart + begin, length };
}

/** Checks that tensors, sorted by offset, are contiguous, and that the last one ends where the file does. */
function checkCovered(
  tensors: ReadonlyMap<string, TensorLocation>,
  { dataStart, size }: DataPlace,
  broken: Broken,
): void {
  const ordered = [...tensors].sort(
    // An empty tensor shares the offset of the next one.
    ([, a], [, b]) => a.offset - b.offset || a.length - b.length,
  );
  let [before, end] = ['the header', dataStart];
  for (const [name, { offset, length }] of ordered) {
    if (offset < end) broken(`tensors ${before} and ${name} overlap`);
    if (offset > end) broken(`${offset - end} bytes between ${before} and tensor ${name} belong to none`);
    [before, end] = [name, offset + length];
  }
  if (end !== size) broken(`${size - end} bytes follow its last tensor`);
}

/**
 * Bits per element for every type of the format (safetensors 0.8). Unsupported types are included, since a file may
 * contain them: a tensor is refused when needed, not when skipped.
 */
const SAFETENSORS_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;
export type SafetensorsDType = keyof typeof SAFETENSORS_BITS;

function isSafetensorsDType(name: string): name is SafetensorsDType {
  return Object.hasOwn(SAFETENSORS_BITS, name);
}

/** Bytes of a tensor; NaN if its bits do not fill bytes, or a product exceeds exact integers. */
function tensorBytes(dtype: SafetensorsDType, shape: readonly number[]): number {
  let bits: number = SAFETENSORS_BITS[dtype];
  for (const dim of shape) {
    bits *= dim;
    if (!Number.isSafeInteger(bits)) return Number.NaN;
  }
  return bits % 8 === 0 ? bits / 8 : Number.NaN;
}

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** A tensor whose bytes are read when it is written, so that only one is in memory at a time. */
export interface DeferredTensor extends Omit<TensorToWrite, 'bytes'> {
  readonly read: () => Promise<Uint8Array>;
}

/**
 * Header of a file with these tensors, preceded by its length, padded with spaces to 8 bytes like the format's own
 * writer.
 */
function headerOf(
  tensors: readonly (TensorToWrite | DeferredTensor)[],
  metadata: Record<string, string>,
): [Buffer, Buffer] {
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let offset = 0;
  for (const { name, dtype, shape, ...tensor } of tensors) {
    const size = 'bytes' in tensor ? tensor.bytes.byteLength : tensorBytes(dtype, shape);
    header[name] = { dtype, shape, data_offsets: [offset, offset + size] };
    offset += size;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.alloc(Math.ceil(json.length / 8) * 8, ' ');
  json.copy(padded);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return [length, padded];
}

/** The bytes of a small safetensors file, as written by `writeSafetensors`. */
export function encodeSafetensors(tensors: readonly TensorToWrite[]): Buffer {
  return Buffer.concat([...headerOf(tensors, {}), ...tensors.map(({ bytes }) => bytes)]);
}

/**
 * Writes a safetensors file atomically. Tensors are stored in the given order, so that equal contents give equal bytes.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly (TensorToWrite | DeferredTensor)[],
  metadata: Record<string, string> = {},
): Promise<void> {
  const header = headerOf(tensors, metadata);
  await writeAside(path, async (file: FileHandle) => {
    for (const piece of header) await file.writeFile(piece);
    for (const tensor of tensors) await file.writeFile('bytes' in tensor ? tensor.bytes : await tensor.read());
  });
}

/** A float32 tensor to write. */
export function floatTensor(name: string, shape: readonly number[], values: Float32Array): TensorToWrite {
  return { name, dtype: 'F32', shape, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}

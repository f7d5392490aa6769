import { realpath } from 'node:fs/promises';
import { Refusal } from '../config/refusal.js';
import { formatBytes } from '../disk/free-space.js';
import { parseJson } from '../disk/parse-json.js';
import { openRegular, type RegularFile, refusedRead } from '../disk/regular-file.js';
import { isSafetensorsDType, type SafetensorsDType, tensorBytes } from './dtypes.js';

export type { SafetensorsDType };

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

/**
 * Bytes of JSON, at most. The format allows 100 MB, a million tensors, whose objects would take more memory than a
 * process may have; checkpoints with tens of thousands of tensors stay below this.
 */
const HEADER_LIMIT = 2 ** 22;

type Broken = (what: string) => never;

/**
 * Reads the header of a safetensors file: 8 bytes little-endian header length, that many bytes of JSON, then the data.
 * Offsets are checked against shapes, the file's size and one another, so that later reads need no checks. What Hugging
 * Face's reader refuses is refused here: tensors must fill the data without holes, and nothing may follow them.
 *
 * @throws Refusal when the file is missing, truncated or not what its header says
 */
export async function readSafetensorsHeader(path: string): Promise<SafetensorsHeader> {
  const file = await openRegular(path, 'A .safetensors file belongs there.');
  if (!file) {
    throw new Refusal(`There is no file ${path}.`, 'Check the path; a checkpoint needs its .safetensors file.');
  }
  const broken: Broken = (what) => {
    throw new Refusal(`${path} is not a whole safetensors file: ${what}.`, 'Download or save the file again.');
  };
  try {
    const header = await readHeader(file, broken);
    const { tensors, metadata } = parsed(header, broken);
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

async function readHeader({ path, handle, size }: RegularFile, broken: Broken): Promise<Buffer> {
  if (size < 8) return broken(`it has ${size} bytes, fewer than the 8 of the header length`);
  const prefix = Buffer.alloc(8);
  await handle.read(prefix, 0, 8, 0);
  const length = prefix.readBigUInt64LE();
  if (length > BigInt(size - 8)) return broken(`its header claims ${length} bytes of ${size - 8}`);
  if (length > BigInt(HEADER_LIMIT)) {
    throw new Refusal(
      `${path} has a header of ${formatBytes(Number(length))}, and at most ${formatBytes(HEADER_LIMIT)} are read.`,
      'Check that it is a checkpoint; one of so many tensors must be saved in shards.',
    );
  }
  const header = Buffer.alloc(Number(length));
  const { bytesRead } = await handle.read(header, 0, header.length, 8);
  return bytesRead === header.length ? header : broken('it became shorter while it was read');
}

/** What the JSON says, tensors by name. */
function parsed(header: Buffer, broken: Broken) {
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
  // Not by a schema: of a hundred thousand keys, zod takes ten seconds.
  if (!isObject(json)) return broken('its header is not a JSON object');
  const { __metadata__: metadata } = json;
  if (metadata != null && !isTexts(metadata)) return broken('its __metadata__ is not a map of strings');
  return { metadata: metadata ?? {}, tensors: Object.entries(json).filter(([name]) => name !== '__metadata__') };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function isTexts(value: unknown): value is Record<string, string> {
  return isObject(value) && Object.values(value).every((text) => typeof text === 'string');
}

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

function isEntry(value: unknown): value is Entry {
  if (!isObject(value)) return false;
  const { dtype, shape, data_offsets: offsets } = value;
  const sizes = (list: unknown) =>
    Array.isArray(list) && list.every((size) => Number.isSafeInteger(size) && (size as number) >= 0);
  return typeof dtype === 'string' && sizes(shape) && sizes(offsets) && (offsets as unknown[]).length === 2;
}

interface Place {
  readonly path: string;
  /** Bytes before the data. */
  readonly dataStart: number;
  /** Bytes of the file. */
  readonly size: number;
}

function locationOf(name: string, value: unknown, { path, dataStart, size }: Place, broken: Broken): TensorLocation {
  if (!isEntry(value)) return broken(`the header entry of tensor ${name} is malformed`);
  const { dtype, shape, data_offsets } = value;
  if (!isSafetensorsDType(dtype)) return broken(`tensor ${name} has the unknown element type ${dtype}`);
  const length = tensorBytes(dtype, shape);
  const [begin, end] = data_offsets;
  if (Number.isNaN(length)) return broken(`tensor ${name} has a shape of no whole number of bytes`);
  if (end - begin !== length) broken(`tensor ${name} spans ${end - begin} bytes where its shape needs ${length}`);
  if (dataStart + end > size) broken(`tensor ${name} ends at byte ${dataStart + end} of a file of ${size}`);
  return { path, dtype, shape, offset: dataStart + begin, length };
}

/** Tensors in the order of their bytes begin where the one before ends, and the last one ends where the file does. */
function checkCovered(tensors: ReadonlyMap<string, TensorLocation>, { dataStart, size }: Place, broken: Broken): void {
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

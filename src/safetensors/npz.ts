import { type FileHandle, realpath } from 'node:fs/promises';
import { openRegular, refusedRead } from '../disk/input-file.js';
import { Refusal } from '../errors/refusal.js';
import type { SafetensorsDType, TensorLocation } from './file.js';
import { readZipBytes, type ZipEntry, zipEntries } from './zip.js';

// numpy.savez files: an uncompressed zip archive with entries NAME.npy, each a header (numpy.lib.format, versions 1 to
// 3) followed by the numbers in row-major order. Each array is thus a range of the file.

/** Element types by NumPy's names, with the bytes per entry. */
const TYPES: Readonly<Record<string, readonly [SafetensorsDType, number]>> = {
  '<f8': ['F64', 8],
  '<f4': ['F32', 4],
  '<f2': ['F16', 2],
  '<i8': ['I64', 8],
  '<i4': ['I32', 4],
};

/** Max bytes of a header; those of plain arrays have 128. */
const MOST_HEADER = 4096;

type Refuse = (what: string) => never;

/**
 * The arrays of a numpy.savez file, by name; no array is read.
 *
 * @throws Refusal if the file is missing, damaged, or contains anything but plain arrays of numbers
 */
export async function readNpzTensors(path: string): Promise<Map<string, TensorLocation>> {
  const file = await openRegular(path, 'Put a numpy.savez file there.');
  if (!file) throw new Refusal(`${path} does not exist.`, 'Check the path.', 'safetensors/no-file');
  const refuse: Refuse = (what) => {
    throw new Refusal(
      `${path} has ${what}, which is not supported in numpy.savez files.`,
      'Save plain float32 arrays with numpy.savez, or convert it to safetensors.',
      'safetensors/unsupported-npz',
    );
  };
  try {
    const entries = await zipEntries(file.handle, file.size, refuse);
    const real = await realpath(path);
    const tensors = new Map<string, TensorLocation>();
    for (const [entry, place] of entries) {
      const name = entry.replace(/\.npy$/, '');
      if (name === entry) refuse(`the entry ${JSON.stringify(entry)}`);
      tensors.set(name, { path: real, ...(await arrayAt(file.handle, name, place, refuse)) });
    }
    return tensors;
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw refusedRead(path, error);
    throw new Refusal(
      `${path} is not a complete numpy.savez file: ${error.message}.`,
      'Download or save the file again.',
      'safetensors/broken-npz',
      { cause: error },
    );
  } finally {
    await file.handle.close();
  }
}

const MAGIC = Buffer.from('\x93NUMPY', 'latin1');

async function arrayAt(
  handle: FileHandle,
  name: string,
  { offset, size }: ZipEntry,
  refuse: Refuse,
): Promise<Omit<TensorLocation, 'path'>> {
  const begin = await readZipBytes(handle, { offset, size: Math.min(size, MOST_HEADER) });
  if (begin.length < 12 || !begin.subarray(0, 6).equals(MAGIC)) throw new TypeError(`${name} is not an array`);
  const [start, length] = begin[6] === 1 ? [10, begin.readUInt16LE(8)] : [12, begin.readUInt32LE(8)];
  if (start + length > begin.length) throw new RangeError(`the header of ${name} ends beyond it`);
  const header = begin.toString('latin1', start, start + length);
  const type = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const order = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const dims = /'shape':\s*\(([\d, ]*)\)/.exec(header)?.[1];
  if (dims === undefined || order === undefined) throw new TypeError(`the header of ${name} is damaged`);
  if (type === undefined || !Object.hasOwn(TYPES, type)) {
    return refuse(`the array ${name} of type ${JSON.stringify(type ?? 'unknown')}`);
  }
  const [dtype, bytes] = TYPES[type]!;
  const shape = dims.split(',').flatMap((dim) => (dim.trim() === '' ? [] : [Number(dim)]));
  if (order === 'True' && shape.length > 1) return refuse(`the array ${name} in column-major order`);
  const needed = shape.reduce((product, dim) => product * dim, bytes);
  if (!Number.isSafeInteger(needed) || needed !== size - start - length) {
    throw new RangeError(`${name} has ${size - start - length} bytes, but its shape needs ${needed}`);
  }
  return { dtype, shape, offset: offset + start + length, length: needed };
}

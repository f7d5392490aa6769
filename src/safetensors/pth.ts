import { type FileHandle, realpath } from 'node:fs/promises';
import { openRegular, refusedRead } from '../disk/input-file.js';
import { Refusal } from '../errors/refusal.js';
import type { SafetensorsDType, TensorLocation } from './file.js';
import { Pickle, PickledGlobal, PickledStorage, PickledTensor } from './pickle.js';

// Files of torch.save since PyTorch 1.6: a zip archive, whose entries are stored as they are, of one pickle and the bytes
// of each storage. Only tensors in plain containers are read; a tensor is then a place in the file.

/** Element types by their storages, with the bytes of an entry. */
const STORAGES: Readonly<Record<string, readonly [SafetensorsDType, number]>> = {
  'torch.FloatStorage': ['F32', 4],
  'torch.HalfStorage': ['F16', 2],
  'torch.BFloat16Storage': ['BF16', 2],
  'torch.DoubleStorage': ['F64', 8],
  'torch.LongStorage': ['I64', 8],
  'torch.IntStorage': ['I32', 4],
  'torch.ShortStorage': ['I16', 2],
  'torch.CharStorage': ['I8', 1],
  'torch.ByteStorage': ['U8', 1],
  'torch.BoolStorage': ['BOOL', 1],
};

/** Bytes of the pickle and of the archive's directory, at most. */
const MOST_BYTES = 2 ** 24;

/** Where an entry's bytes lie in the archive. */
interface Entry {
  readonly offset: number;
  readonly size: number;
}

/**
 * The tensors of a file of torch.save, by their names in its state dict; no tensor is read.
 *
 * @throws Refusal where the file is missing, damaged, or holds anything but tensors in plain containers
 */
export async function readPthTensors(path: string): Promise<Map<string, TensorLocation>> {
  const file = await openRegular(path, 'A file of torch.save belongs there.');
  if (!file) throw new Refusal(`There is no file ${path}.`, 'Check the path.', 'safetensors/no-file');
  const refuse = (what: string): never => {
    throw new Refusal(
      `${path} has ${what}, which is not read from a file of torch.save.`,
      'Save the state dict alone, its tensors contiguous, or convert it to safetensors.',
      'safetensors/unsupported-pth',
    );
  };
  try {
    const entries = await readDirectory(file.handle, file.size, refuse);
    const pickle = [...entries].find(([name]) => /(^|\/)data\.pkl$/.test(name));
    if (!pickle) throw new RangeError('it has no data.pkl');
    const [name, place] = pickle;
    const folder = name.slice(0, -'data.pkl'.length);
    const order = entries.get(`${folder}byteorder`);
    if (order && (await readBytes(file.handle, order)).toString() !== 'little') refuse('numbers in big-endian order');
    const root = new Pickle(await readBytes(file.handle, place), refuse).read();
    if (!(root instanceof Map)) return refuse('something other than a state dict');
    const real = await realpath(path);
    const tensors = new Map<string, TensorLocation>();
    for (const [key, value] of root) {
      if (!(value instanceof PickledTensor)) continue;
      tensors.set(String(key), { path: real, ...locationOf(String(key), value, folder, entries, refuse) });
    }
    return tensors;
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw refusedRead(path, error);
    throw new Refusal(
      `${path} is not a whole file of torch.save: ${error.message}.`,
      'Download or save the file again.',
      'safetensors/broken-pth',
      { cause: error },
    );
  } finally {
    await file.handle.close();
  }
}

async function readBytes(handle: FileHandle, { offset, size }: Entry): Promise<Buffer> {
  if (size > MOST_BYTES) throw new RangeError(`a part has ${size} bytes`);
  const bytes = Buffer.alloc(size);
  const { bytesRead } = await handle.read(bytes, 0, size, offset);
  if (bytesRead < size) throw new RangeError('it ends early');
  return bytes;
}

/** Entries of a zip archive by name; each must be stored as it is. */
async function readDirectory(
  handle: FileHandle,
  size: number,
  refuse: (what: string) => never,
): Promise<Map<string, Entry>> {
  const tailSize = Math.min(size, 2 ** 16 + 22);
  const tail = await readBytes(handle, { offset: size - tailSize, size: tailSize });
  const end = tail.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  if (end < 0) throw new RangeError('it is not a zip archive');
  const count = tail.readUInt16LE(end + 10);
  const place = { size: tail.readUInt32LE(end + 12), offset: tail.readUInt32LE(end + 16) };
  if (count === 0xffff || place.offset === 0xffffffff) refuse('4 GiB or more in one archive');
  const directory = await readBytes(handle, place);
  const entries = new Map<string, Entry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (directory.readUInt32LE(at) !== 0x02014b50) throw new RangeError('its directory is damaged');
    const [method, packed, length] = [10, 20, 24].map((field) =>
      field === 10 ? directory.readUInt16LE(at + field) : directory.readUInt32LE(at + field),
    ) as [number, number, number];
    const [nameLength, extra, comment] = [28, 30, 32].map((field) => directory.readUInt16LE(at + field)) as number[];
    const local = directory.readUInt32LE(at + 42);
    const name = directory.toString('utf8', at + 46, at + 46 + nameLength!);
    if (method !== 0 || packed !== length) refuse(`the compressed entry ${JSON.stringify(name)}`);
    if (length === 0xffffffff || local === 0xffffffff) refuse('4 GiB or more in one archive');
    entries.set(name, { offset: await dataOffset(handle, local), size: length });
    at += 46 + nameLength! + extra! + comment!;
  }
  for (const [name, entry] of entries) {
    if (entry.offset + entry.size > size) throw new RangeError(`${name} ends beyond it`);
  }
  return entries;
}

/** Where the bytes behind an entry's own header begin. */
async function dataOffset(handle: FileHandle, local: number): Promise<number> {
  const header = await readBytes(handle, { offset: local, size: 30 });
  if (header.readUInt32LE(0) !== 0x04034b50) throw new RangeError('an entry is not where its directory says');
  return local + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
}

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && (size as number) >= 0);

function locationOf(
  name: string,
  { args }: PickledTensor,
  folder: string,
  entries: ReadonlyMap<string, Entry>,
  refuse: (what: string) => never,
): Omit<TensorLocation, 'path'> {
  const [storage, first, shape, strides] = args;
  if (!(storage instanceof PickledStorage) || !isSizes(shape) || !isSizes(strides) || !isSizes([first])) {
    throw new TypeError(`the tensor ${name} is damaged`);
  }
  const [, type, key] = storage.id;
  const kind = type instanceof PickledGlobal ? STORAGES[type.name] : undefined;
  if (!kind) return refuse(`the tensor ${name} of ${type instanceof PickledGlobal ? type.name : 'an unknown type'}`);
  const [dtype, bytes] = kind;
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== step) return refuse(`the tensor ${name}, which is not contiguous`);
    step *= shape[i]!;
  }
  const entry = entries.get(`${folder}data/${String(key)}`);
  const [offset, length] = [(first as number) * bytes, step * bytes];
  if (!entry || offset + length > entry.size) throw new RangeError(`the tensor ${name} ends beyond its storage`);
  return { dtype, shape, offset: entry.offset + offset, length };
}

import { realpath } from 'node:fs/promises';
import { openRegular, refusedRead } from '../disk/input-file.js';
import { Refusal } from '../errors/refusal.js';
import type { SafetensorsDType, TensorLocation } from './file.js';
import { Pickle, PickledGlobal, PickledStorage, PickledTensor } from './pickle.js';
import { readZipBytes, type ZipEntry, zipEntries } from './zip.js';

// torch.save files since PyTorch 1.6: an uncompressed zip archive of one pickle and the bytes of each storage. Only
// tensors in plain containers are supported; each tensor is thus a range of the file.

/** Element types by storage class, with the bytes per entry. */
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

/** A tensor in a torch.save file. */
export interface PthTensor extends TensorLocation {
  /** For a matrix: its entries are in column-major order, like those of a transposed one. */
  readonly columnMajor?: true;
}

/**
 * The tensors of a torch.save file, by their names in its state dict; no tensor is read.
 *
 * @throws Refusal if the file is missing, damaged, or contains anything but tensors in plain containers
 */
export async function readPthTensors(path: string): Promise<Map<string, TensorLocation>> {
  return pthTensors(path, false);
}

/** The same, but matrices may be stored transposed. */
export async function readPthTensorsOfAnyOrder(path: string): Promise<Map<string, PthTensor>> {
  return pthTensors(path, true);
}

async function pthTensors(path: string, anyOrder: boolean): Promise<Map<string, PthTensor>> {
  const file = await openRegular(path, 'Put a torch.save file there.');
  if (!file) throw new Refusal(`${path} does not exist.`, 'Check the path.', 'safetensors/no-file');
  const refuse = (what: string): never => {
    throw new Refusal(
      `${path} has ${what}, which is not supported in torch.save files.`,
      'Save only the state dict, with contiguous tensors, or convert it to safetensors.',
      'safetensors/unsupported-pth',
    );
  };
  try {
    const entries = await zipEntries(file.handle, file.size, refuse);
    const pickle = [...entries].find(([name]) => /(^|\/)data\.pkl$/.test(name));
    if (!pickle) throw new RangeError('it has no data.pkl');
    const [name, place] = pickle;
    const folder = name.slice(0, -'data.pkl'.length);
    const order = entries.get(`${folder}byteorder`);
    if (order && (await readZipBytes(file.handle, order)).toString() !== 'little') {
      refuse('numbers in big-endian order');
    }
    const root = new Pickle(await readZipBytes(file.handle, place), refuse).read();
    if (!(root instanceof Map)) return refuse('something other than a state dict');
    const real = await realpath(path);
    const tensors = new Map<string, PthTensor>();
    for (const [key, value] of root) {
      if (!(value instanceof PickledTensor)) continue;
      const found = { ...locationOf(String(key), value, folder, entries, refuse), path: real };
      if (found.columnMajor && !anyOrder) refuse(`the tensor ${String(key)}, which is not contiguous`);
      tensors.set(String(key), found);
    }
    return tensors;
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw refusedRead(path, error);
    throw new Refusal(
      `${path} is not a complete torch.save file: ${error.message}.`,
      'Download or save the file again.',
      'safetensors/broken-pth',
      { cause: error },
    );
  } finally {
    await file.handle.close();
  }
}

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && (size as number) >= 0);

/** Are a tensor's entries contiguous, in row-major order? */
function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== step) return false;
    step *= shape[i]!;
  }
  return true;
}

function locationOf(
  name: string,
  { args }: PickledTensor,
  folder: string,
  entries: ReadonlyMap<string, ZipEntry>,
  refuse: (what: string) => never,
): Omit<PthTensor, 'path'> {
  const [storage, first, shape, strides] = args;
  if (!(storage instanceof PickledStorage) || !isSizes(shape) || !isSizes(strides) || !isSizes([first])) {
    throw new TypeError(`the tensor ${name} is damaged`);
  }
  const [, type, key] = storage.id;
  const kind = type instanceof PickledGlobal ? STORAGES[type.name] : undefined;
  if (!kind) return refuse(`the tensor ${name} of ${type instanceof PickledGlobal ? type.name : 'an unknown type'}`);
  const [dtype, bytes] = kind;
  const columnMajor = !isRowMajor(shape, strides);
  if (columnMajor && !(shape.length === 2 && strides[0] === 1 && strides[1] === shape[0])) {
    return refuse(`the tensor ${name}, which is not contiguous`);
  }
  const entry = entries.get(`${folder}data/${String(key)}`);
  const size = shape.reduce((product, dim) => product * dim, 1);
  const [offset, length] = [(first as number) * bytes, size * bytes];
  if (!entry || !(offset + length <= entry.size)) throw new RangeError(`the tensor ${name} ends beyond its storage`);
  return { dtype, shape, offset: entry.offset + offset, length, ...(columnMajor && { columnMajor: true as const }) };
}

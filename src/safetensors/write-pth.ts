import { writeZip, type ZipPart } from './write-zip.js';

/** A float32 tensor to write, row-major. */
export interface FloatsToWrite {
  readonly name: string;
  readonly shape: readonly number[];
  readonly read: () => Promise<Float32Array>;
}

/** An int32 tensor. */
export interface IntsToWrite extends Omit<FloatsToWrite, 'read'> {
  readonly ints: Int32Array;
}

const bytesOf = (values: Float32Array | Int32Array) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** Writes a state dict in torch.save format, readable by torch.load with weights_only. */
export async function writePth(path: string, tensors: readonly (FloatsToWrite | IntsToWrite)[]): Promise<void> {
  const parts: ZipPart[] = [
    { name: 'archive/data.pkl', read: async () => pickled(tensors) },
    { name: 'archive/byteorder', read: async () => Buffer.from('little') },
    ...tensors.map((tensor, i) => ({
      name: `archive/data/${i}`,
      read: async () => bytesOf('ints' in tensor ? tensor.ints : await tensor.read()),
    })),
    { name: 'archive/version', read: async () => Buffer.from('3\n') },
  ];
  await writeZip(path, parts);
}

/** A pickle, protocol 2: a dict of tensors, each in its own storage. */
function pickled(tensors: readonly (FloatsToWrite | IntsToWrite)[]): Buffer {
  const items = tensors.map(({ name, shape, ...tensor }, i) => {
    const size = shape.reduce((product, dim) => product * dim, 1);
    const strides = shape.map((_, at) => shape.slice(at + 1).reduce((product, dim) => product * dim, 1));
    const type = global('torch', 'ints' in tensor ? 'IntStorage' : 'FloatStorage');
    const storage = [text('storage'), type, text(String(i)), text('cpu'), int(size)];
    const empty = [global('collections', 'OrderedDict'), op(')R')];
    const args = [op('('), ...storage, op('tQ'), int(0), tuple(shape), tuple(strides), op('\x89'), ...empty];
    return Buffer.concat([text(name), global('torch._utils', '_rebuild_tensor_v2'), op('('), ...args, op('tR')]);
  });
  return Buffer.concat([op('\x80\x02}('), ...items, op('u.')]);
}

const op = (codes: string) => Buffer.from(codes, 'latin1');
const global = (module: string, name: string) => op(`c${module}\n${name}\n`);
const tuple = (numbers: readonly number[]) => Buffer.concat([op('('), ...numbers.map(int), op('t')]);

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  const head = Buffer.alloc(5);
  head.write('X');
  head.writeUInt32LE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function int(value: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes.write('J');
  bytes.writeInt32LE(value, 1);
  return bytes;
}

import type { FloatsToWrite } from './write-pth.js';
import { writeZip } from './write-zip.js';

/** Writes float32 arrays in numpy.savez format. */
export async function writeNpz(path: string, arrays: readonly FloatsToWrite[]): Promise<void> {
  await writeZip(
    path,
    arrays.map(({ name, shape, read }) => ({
      name: `${name}.npy`,
      read: async () => {
        const values = await read();
        return Buffer.concat([npyHeader(shape), Buffer.from(values.buffer, values.byteOffset, values.byteLength)]);
      },
    })),
  );
}

/** Version 1, padded so that the numbers start at a multiple of 64 bytes. */
function npyHeader(shape: readonly number[]): Buffer {
  const dims = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${dims}), }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const head = Buffer.alloc(10);
  head.write('\x93NUMPY\x01', 'latin1');
  head.writeUInt16LE(length, 8);
  return Buffer.concat([head, Buffer.from(`${text.padEnd(length - 1)}\n`)]);
}

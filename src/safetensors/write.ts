import type { FileHandle } from 'node:fs/promises';
import { writeAside } from '../disk/write-aside.js';
import type { SafetensorsDType } from './header.js';

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/**
 * Writes a safetensors file. Tensors lie in the order given and the header is padded with spaces to 8 bytes, as the
 * format's own writer does, so that equal contents make equal bytes. The file appears whole or not at all.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: Record<string, string> = {},
): Promise<void> {
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let offset = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.byteLength] };
    offset += bytes.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.alloc(Math.ceil(json.length / 8) * 8, ' ');
  json.copy(padded);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  await writeAside(path, async (file: FileHandle) => {
    await file.writeFile(length);
    await file.writeFile(padded);
    for (const { bytes } of tensors) await file.writeFile(bytes);
  });
}

/** A float32 tensor to write. */
export function floatTensor(name: string, shape: readonly number[], values: Float32Array): TensorToWrite {
  return { name, dtype: 'F32', shape, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}

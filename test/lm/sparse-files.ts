import { closeSync, mkdirSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export type Shapes = [name: string, shape: number[]][];

/** Bytes of a tensor of bfloat16. */
export const bytesOf = (shape: readonly number[]) => shape.reduce((product, dim) => product * dim, 2);

/**
 * Writes config.json and bfloat16 files of the true sizes that hold nothing but their headers.
 *
 * @param shard bytes of a file, at most
 * @returns where each tensor lies
 */
export function writeSparse(
  directory: string,
  config: Readonly<Record<string, unknown>>,
  shapes: Shapes,
  shard: number,
): Map<string, { path: string; offset: number }> {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config));
  const files: Shapes[] = [[]];
  let filled = 0;
  for (const tensor of shapes) {
    if (filled + bytesOf(tensor[1]) > shard) {
      files.push([]);
      filled = 0;
    }
    files.at(-1)!.push(tensor);
    filled += bytesOf(tensor[1]);
  }
  const places = new Map<string, { path: string; offset: number }>();
  const weight_map: Record<string, string> = {};
  for (const [i, tensors] of files.entries()) {
    const five = (n: number) => String(n).padStart(5, '0');
    const name = files.length === 1 ? 'model.safetensors' : `model-${five(i + 1)}-of-${five(files.length)}.safetensors`;
    const path = join(directory, name);
    const header: Record<string, unknown> = {};
    let end = 0;
    const begins = tensors.map(([tensor, shape]) => {
      const begin = end;
      end += bytesOf(shape);
      header[tensor] = { dtype: 'BF16', shape, data_offsets: [begin, end] };
      weight_map[tensor] = name;
      return begin;
    });
    const json = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    const file = openSync(path, 'w');
    writeSync(file, Buffer.concat([length, json]));
    closeSync(file);
    truncateSync(path, 8 + json.length + end);
    for (const [j, [tensor]] of tensors.entries()) places.set(tensor, { path, offset: 8 + json.length + begins[j]! });
  }
  if (files.length > 1) writeFileSync(join(directory, 'model.safetensors.index.json'), JSON.stringify({ weight_map }));
  return places;
}

import { createHash } from 'node:crypto';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeShard, encodeShard } from '../../src/activations/arrow-rows.js';
import type { Manifest } from '../../src/activations/manifest.js';

/** A copy of a store whose shard `shard` has `change` made to its activations; the manifest knows nothing of it. */
export function changedStore(
  store: string,
  to: string,
  shard: number,
  change: (bits: Uint16Array, d: number) => void,
): string {
  cpSync(store, to, { recursive: true });
  const manifest = JSON.parse(readFileSync(join(to, 'manifest.json'), 'utf8')) as Manifest;
  const entry = manifest.shards[shard]!;
  const path = join(to, entry.file);
  const rows = decodeShard(readFileSync(path), manifest.d_in, manifest.dtype, path);
  const bits = Uint16Array.from(rows.activation);
  change(bits, manifest.d_in);
  const bytes = encodeShard({ ...rows, activation: bits }, manifest.d_in, manifest.dtype);
  entry.sha256 = createHash('sha256').update(bytes).digest('hex');
  writeFileSync(path, bytes);
  writeFileSync(join(to, 'manifest.json'), JSON.stringify(manifest));
  return to;
}

/** A copy of a directory with safetensors whose tensor `name` has `change` made to its bytes. */
export function changedTensor(
  from: string,
  to: string,
  file: string,
  name: string,
  change: (bytes: Buffer) => void,
): string {
  cpSync(from, to, { recursive: true });
  const path = join(to, file);
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<string, { data_offsets: number[] }>;
  const [begin, end] = header[name]!.data_offsets as [number, number];
  change(bytes.subarray(8 + length + begin, 8 + length + end));
  writeFileSync(path, bytes);
  return to;
}

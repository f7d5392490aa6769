import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { cacheDirectory } from '../../disk/cache-directory.js';
import { makeDirectory } from '../../disk/durable.js';
import { exists, piecesOfFile } from '../../disk/input-file.js';
import { checkFreeSpace } from '../../disk/space.js';
import { Refusal } from '../../errors/refusal.js';
import type { DeferredTensor } from '../../safetensors/file.js';
import { parametersOf } from '../registry.js';
import { parameterShape } from '../sae.js';
import { CFG_FILE, cfgOf, saveTensors } from '../saelens.js';
import type { DescribedSae, SaeFileNames } from './layout.js';

/** Increment when the reading of a layout changes. */
const VERSION = 1;

const OTHER_CACHE = 'Free space, or set SAE_PIPE_CACHE to a writable directory with enough space.';

/**
 * The directory with a copy of a foreign-layout SAE in our layout, created if missing: graphs read weights directly
 * from files, which these layouts do not allow. Its name is a hash of its sources, so it is created once and never
 * stale; it may be deleted at any time.
 *
 * @throws Refusal if it cannot be written, or a value cannot be read
 */
export async function asOurs(sae: DescribedSae, layout: string, files: SaeFileNames): Promise<string> {
  const metadata = { ...sae.metadata, published: { layout } };
  const hash = createHash('sha256').update(JSON.stringify([VERSION, cfgOf(sae, metadata)]));
  for (const role of Object.keys(files).sort()) {
    hash.update(`\n${role}\n`);
    for await (const piece of piecesOfFile(files[role]!)) hash.update(piece);
  }
  const directory = join(cacheDirectory('a copy of the SAE', 'sae/no-cache'), 'saes', hash.digest('hex'));
  if (await exists(join(directory, CFG_FILE))) return directory;
  const tensors = parametersOf(sae).map((name): DeferredTensor => {
    const read = sae.values[name]!;
    return { name, dtype: 'F32', shape: parameterShape(name, sae), read: async () => bytesOf(await read()) };
  });
  const size = tensors.reduce((sum, { shape }) => sum + 4 * shape.reduce((product, dim) => product * dim, 1), 0);
  await makeDirectory(directory).catch((cause: Error) => {
    throw new Refusal(`The SAE cache cannot be created: ${cause.message}`, OTHER_CACHE, 'sae/no-cache', { cause });
  });
  await checkFreeSpace(directory, size, OTHER_CACHE);
  await saveTensors(directory, sae, tensors, metadata);
  return directory;
}

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

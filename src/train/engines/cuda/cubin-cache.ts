import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { makeDirectory } from '../../../disk/durable.js';
import { writeAside } from '../../../disk/output-file.js';
import { homeDirectory } from '../../../disk/space.js';

/** Everything that decides what compiled kernels are. */
export interface CubinKey {
  readonly source: string;
  readonly options: readonly string[];
  /** Of NVRTC, `12.9`. */
  readonly compiler: string;
  /** CUDA's version that the driver serves, as it numbers it. */
  readonly driver: number;
}

const DIGEST = 32;

/** Compiled kernels on disk, so that a run starts without compiling. A file is the SHA-256 of the code, then the code. */
export class CubinCache {
  /** @param directory undefined: nothing is kept */
  constructor(readonly directory: string | undefined) {}

  /** The compiled kernels; null where there are none, or the file is not whole. */
  async read(key: CubinKey): Promise<Uint8Array | null> {
    if (this.directory === undefined) return null;
    const bytes = await readFile(this.path(this.directory, key)).catch(() => null);
    if (bytes === null || bytes.length <= DIGEST) return null;
    const code = bytes.subarray(DIGEST);
    return digest(code).equals(bytes.subarray(0, DIGEST)) ? code : null;
  }

  /** A directory that cannot be written costs the next run its compilation, and this one nothing. */
  async write(key: CubinKey, code: Uint8Array): Promise<void> {
    if (this.directory === undefined) return;
    try {
      await makeDirectory(this.directory);
      await writeAside(this.path(this.directory, key), Buffer.concat([digest(code), code]));
    } catch {
      return;
    }
  }

  private path(directory: string, { source, options, compiler, driver }: CubinKey): string {
    const name = createHash('sha256')
      .update(JSON.stringify([source, options, compiler, driver]))
      .digest('hex');
    return join(directory, `${name}.cubin`);
  }
}

function digest(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/** SAE_PIPE_CUDA_CACHE, or `sae-pipe/cuda` below the user's cache directory (XDG Base Directory Specification). */
export function cubinCache(environment: Readonly<Record<string, string | undefined>> = process.env): CubinCache {
  const home = homeDirectory();
  const below = environment.XDG_CACHE_HOME?.trim() || (home && join(home, '.cache'));
  const directory = environment.SAE_PIPE_CUDA_CACHE?.trim() || (below && join(below, 'sae-pipe', 'cuda'));
  return new CubinCache(directory === undefined ? undefined : resolve(directory));
}

import { createHash } from 'node:crypto';
import { mkdir, readFile, rename } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { writeAside } from '../../../disk/write-aside.js';

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
  constructor(readonly directory: string) {}

  /** The compiled kernels; null where there are none, or the file is not whole. */
  async read(key: CubinKey): Promise<Uint8Array | null> {
    const bytes = await readFile(this.path(key)).catch(() => null);
    if (bytes === null || bytes.length <= DIGEST) return null;
    const code = bytes.subarray(DIGEST);
    return digest(code).equals(bytes.subarray(0, DIGEST)) ? code : null;
  }

  /** A directory that cannot be written costs the next run its compilation, and this one nothing. */
  async write(key: CubinKey, code: Uint8Array): Promise<void> {
    const path = this.path(key);
    // Jobs of a cluster start at once with one home directory: each writes a file of its own.
    const own = `${path}.${process.pid}`;
    try {
      await mkdir(this.directory, { recursive: true });
      await writeAside(own, Buffer.concat([digest(code), code]));
      await rename(own, path);
    } catch {
      return;
    }
  }

  private path({ source, options, compiler, driver }: CubinKey): string {
    const name = createHash('sha256')
      .update(JSON.stringify([source, options, compiler, driver]))
      .digest('hex');
    return join(this.directory, `${name}.cubin`);
  }
}

function digest(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/** SAE_PIPE_CUDA_CACHE, or `sae-pipe/cuda` below the user's cache directory (XDG Base Directory Specification). */
export function cubinCache(environment: Readonly<Record<string, string | undefined>> = process.env): CubinCache {
  const below = environment.XDG_CACHE_HOME?.trim() || join(homedir(), '.cache');
  return new CubinCache(resolve(environment.SAE_PIPE_CUDA_CACHE?.trim() || join(below, 'sae-pipe', 'cuda')));
}

/** ONNX Runtime's CUDA provider: finds its two libraries and their dependencies, with the CUDA engine's search. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  rmSync,
} from 'node:fs';
import { readlink, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { constants, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';
import { makeDirectory } from '../disk/durable.js';
import { Refusal } from '../errors/refusal.js';
import {
  CUDNN,
  cudaCacheDirectory,
  findLibrary,
  type LibraryPlace,
  PROVIDER_LIBRARIES,
  places,
} from '../machine/cuda-libraries.js';

/** Must be of the same version, in the same directory. */
export const PROVIDER_FILES = ['libonnxruntime_providers_cuda.so', 'libonnxruntime_providers_shared.so'] as const;
const RUNTIME = 'libonnxruntime.so.1';
/** Version file of the Python package, next to the libraries. */
const PACKAGE_INFO = 'build_and_package_info.py';

/** A library that was loaded. */
interface FoundLibrary {
  readonly file: string;
  readonly path: string;
  /** Where the place comes from. */
  readonly origin: string;
}

/** State of the provider on this machine. */
export interface CudaProvider {
  /** Directory of its two libraries. */
  readonly directory: string | null;
  /** Where that place comes from. */
  readonly origin: string | null;
  /** CUDA libraries that were loaded. */
  readonly found: readonly FoundLibrary[];
  /** CUDA libraries that were not, each with the reason. */
  readonly missing: readonly { readonly file: string; readonly reason: string }[];
  /** Why the provider cannot be used, regardless of CUDA's libraries. */
  readonly refusal: Refusal | null;
  /** Was ONNX Runtime loaded earlier, so that it only looks for its provider next to its own library? */
  readonly late: boolean;
}

let prepared: Promise<CudaProvider> | undefined;

/**
 * Loads CUDA's libraries by path, and makes ONNX Runtime look for its provider where it was found. Must be called
 * before anything in this process loads ONNX Runtime; later calls do nothing. Never throws: a run that only trains on
 * the GPU needs no provider.
 */
export function prepareCudaProvider(): Promise<CudaProvider> {
  prepared ??= process.platform === 'linux' ? prepare(places()) : Promise.resolve(elsewhere());
  return prepared;
}

function elsewhere(): CudaProvider {
  const refusal = new Refusal(
    `ONNX Runtime's CUDA provider is only supported on Linux, not on ${process.platform}.`,
    'Use --device cpu or --device webgpu.',
    'onnx/device-unusable',
  );
  return { directory: null, origin: null, found: [], missing: [], refusal, late: false };
}

async function prepare(where: readonly LibraryPlace[]): Promise<CudaProvider> {
  const own = runtimeDirectory();
  const found: FoundLibrary[] = [];
  const missing: { file: string; reason: string }[] = [];
  for (const library of [...PROVIDER_LIBRARIES, CUDNN]) {
    const file = library.files[0]!;
    try {
      const { path, origin } = findLibrary(library, where, preload);
      found.push({ file, path, origin });
    } catch (error) {
      missing.push({ file, reason: (error as Error).message });
    }
  }
  try {
    const { directory, origin } = findProvider(where, own, runtimeVersion());
    const late = directory !== own && !(await loadTogether(directory, own));
    return { directory, origin, found, missing, refusal: null, late };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { directory: null, origin: null, found, missing, refusal: error, late: false };
  }
}

/** Set in this process once ONNX Runtime was loaded together with its provider; inherited by later threads. */
const TOGETHER = 'sae-pipe: ONNX Runtime was loaded with its provider';

/** Loads ONNX Runtime through links next to a provider elsewhere; false if something had loaded it before. */
async function loadTogether(provider: string, own: string): Promise<boolean> {
  const before =
    getEnvironmentData(TOGETHER) !== true && readFileSync('/proc/self/maps', 'utf8').includes('/libonnxruntime.so');
  preload(join(await linkedTogether(provider, own), RUNTIME));
  if (!before) setEnvironmentData(TOGETHER, true);
  return !before;
}

/**
 * The directory with both of the provider's libraries: a user-specified one, ONNX Runtime's own, or one of the other
 * places.
 *
 * @param own ONNX Runtime's directory
 * @param version ONNX Runtime's, which the provider must share: they call each other by position in a table
 * @throws Refusal if there is none, explaining what is wrong with near matches
 */
export function findProvider(
  where: readonly LibraryPlace[],
  own: string,
  version: string,
): { readonly directory: string; readonly origin: string } {
  const named = where.filter(({ origin }) => origin === 'SAE_PIPE_CUDA_LIBS');
  const others = where.filter((place) => !named.includes(place));
  const obstacles: string[] = [];
  const looked: string[] = [];
  for (const { origin, directory } of [...named, { origin: 'ONNX Runtime itself', directory: own }, ...others]) {
    if (directory === null) continue;
    looked.push(`${directory} (${origin})`);
    const [there, absent] = [true, false].map((wanted) =>
      PROVIDER_FILES.filter((file) => existsSync(join(directory, file)) === wanted),
    );
    if (there!.length === 0) continue;
    if (absent!.length > 0) {
      obstacles.push(`${directory} has ${there} but not ${absent}`);
      continue;
    }
    const other = versionOf(directory);
    if (other === undefined || other === version) return { directory, origin };
    obstacles.push(`${directory} has that of ${other}`);
  }
  const why = obstacles.length > 0 ? obstacles.join('; ') : `searched ${looked.join(', ')}`;
  throw new Refusal(
    `The CUDA provider of ONNX Runtime ${version} (${PROVIDER_FILES.join(' and ')}) is not usable: ${why}.`,
    `Install PyPI's onnxruntime-gpu==${version} and name its onnxruntime/capi in SAE_PIPE_CUDA_LIBS, or use --device cpu.`,
    'onnx/no-provider',
  );
}

/** The version of a directory's provider, from its Python package or from its file; undefined if neither has one. */
function versionOf(directory: string): string | undefined {
  return versionOfPackage(directory) ?? versionInside(join(directory, PROVIDER_FILES[0]));
}

function versionOfPackage(directory: string): string | undefined {
  try {
    return /__version__ = '([^']+)'/.exec(readFileSync(join(directory, PACKAGE_INFO), 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}

/** Bytes of a file scanned at a time, and overlap between scans. */
const [PIECE, OVERLAP] = [2 ** 24, 32];

/** The ONNX Runtime version contained in its provider as a zero-terminated string. */
function versionInside(path: string): string | undefined {
  const piece = Buffer.alloc(PIECE);
  const file = openSync(path, 'r');
  try {
    for (let at = 0; ; at += PIECE - OVERLAP) {
      const bytes = readSync(file, piece, 0, PIECE, at);
      const found = /\0(1\.\d+\.\d+)\0/.exec(piece.toString('latin1', 0, bytes))?.[1];
      if (found !== undefined || bytes < PIECE) return found;
    }
  } finally {
    closeSync(file);
  }
}

const packages = createRequire(import.meta.url);

function runtimeVersion(): string {
  return (packages('onnxruntime-node/package.json') as { version: string }).version;
}

/** Library directory of the bundled ONNX Runtime. */
export function runtimeDirectory(): string {
  const bin = join(dirname(packages.resolve('onnxruntime-node')), '..', 'bin');
  const version = readdirSync(bin).find((name) => name.startsWith('napi-'))!;
  return join(bin, version, process.platform, process.arch);
}

/** The library stays loaded even after being closed (glibc's RTLD_NODELETE, for which Node has no name). */
const NODELETE = 0x1000;

/**
 * Loads a library into the whole process, so that others depending on it by name find it. @throws the loader's Error
 */
function preload(path: string): void {
  try {
    process.dlopen({ exports: {} }, path, constants.dlopen.RTLD_LAZY | constants.dlopen.RTLD_GLOBAL | NODELETE);
  } catch (error) {
    // It is loaded, just not as a Node addon.
    if (!(error as Error).message.startsWith('Module did not self-register')) throw error;
  }
}

/**
 * A directory of links to ONNX Runtime and to a provider elsewhere: ONNX Runtime looks for its provider next to the
 * path it was loaded from, without resolving links.
 */
async function linkedTogether(provider: string, own: string): Promise<string> {
  const targets = [...PROVIDER_FILES.map((file) => join(provider, file)), join(own, RUNTIME)].map((path) => ({
    name: basename(path),
    target: realpathSync(path),
  }));
  const name = createHash('sha256').update(JSON.stringify(targets)).digest('hex').slice(0, 16);
  const cache = cudaCacheDirectory();
  if (cache !== undefined) {
    const kept = join(cache, `onnxruntime-${name}`);
    if (await linked(kept, targets)) return kept;
  }
  const made = mkdtempSync(join(tmpdir(), 'sae-pipe-'));
  process.once('exit', () => rmSync(made, { recursive: true, force: true }));
  await linked(made, targets);
  return made;
}

/** Do the links exist, or could they be created? Another process may create the same ones concurrently. */
async function linked(
  directory: string,
  targets: readonly { readonly name: string; readonly target: string }[],
): Promise<boolean> {
  try {
    await makeDirectory(directory);
    for (const { name, target } of targets) {
      const link = join(directory, name);
      try {
        await symlink(target, link);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || (await readlink(link)) !== target) return false;
      }
    }
    return true;
  } catch {
    return false;
  }
}

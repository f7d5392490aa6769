/** ONNX Runtime's CUDA provider: its two libraries and those that it loads, found by the search of the CUDA engine. */
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

/** Of one version, in one directory. */
export const PROVIDER_FILES = ['libonnxruntime_providers_cuda.so', 'libonnxruntime_providers_shared.so'] as const;
const RUNTIME = 'libonnxruntime.so.1';
/** What Python's package says of itself, next to the libraries. */
const PACKAGE_INFO = 'build_and_package_info.py';

/** A library that was loaded. */
interface FoundLibrary {
  readonly file: string;
  readonly path: string;
  /** Who names the place. */
  readonly origin: string;
}

/** What there is of the provider on this machine. */
export interface CudaProvider {
  /** Where its two libraries lie. */
  readonly directory: string | null;
  /** Who names that place. */
  readonly origin: string | null;
  /** Libraries of CUDA that are loaded. */
  readonly found: readonly FoundLibrary[];
  /** Libraries of CUDA that are not, each with what is in its way. */
  readonly missing: readonly { readonly file: string; readonly reason: string }[];
  /** Why the provider cannot be used, whatever of CUDA there is. */
  readonly refusal: Refusal | null;
  /** Was ONNX Runtime loaded before, so that it looks for its provider next to its own library alone? */
  readonly late: boolean;
}

let prepared: Promise<CudaProvider> | undefined;

/**
 * Loads CUDA's libraries by path, and has ONNX Runtime look for its provider where it was found. It comes before ONNX
 * Runtime is loaded by anything in this process, and does nothing when called again. Never throws: a run whose training
 * alone is on the GPU needs no provider.
 */
export function prepareCudaProvider(): Promise<CudaProvider> {
  prepared ??= process.platform === 'linux' ? prepare(places()) : Promise.resolve(elsewhere());
  return prepared;
}

function elsewhere(): CudaProvider {
  const refusal = new Refusal(
    `ONNX Runtime's CUDA provider is looked for on Linux, not on ${process.platform}.`,
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

/** Of this process: ONNX Runtime was loaded together with its provider. Threads that are started later are told. */
const TOGETHER = 'sae-pipe: ONNX Runtime was loaded with its provider';

/** Loads ONNX Runtime through links that lie next to a provider elsewhere; false where something had loaded it before. */
async function loadTogether(provider: string, own: string): Promise<boolean> {
  const before =
    getEnvironmentData(TOGETHER) !== true && readFileSync('/proc/self/maps', 'utf8').includes('/libonnxruntime.so');
  preload(join(await linkedTogether(provider, own), RUNTIME));
  if (!before) setEnvironmentData(TOGETHER, true);
  return !before;
}

/**
 * The directory that has both of the provider's libraries: a named one, that of ONNX Runtime itself, or one of the
 * other places.
 *
 * @param own ONNX Runtime's directory
 * @param version ONNX Runtime's, which must be the provider's too: they call each other by position in a table
 * @throws Refusal where there is none, with what is wrong with those that come near
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
      obstacles.push(`${directory} has ${there} without ${absent}`);
      continue;
    }
    const other = versionOf(directory);
    if (other === undefined || other === version) return { directory, origin };
    obstacles.push(`${directory} has that of ${other}`);
  }
  const why = obstacles.length > 0 ? obstacles.join('; ') : `looked in ${looked.join(', ')}`;
  throw new Refusal(
    `The CUDA provider of ONNX Runtime ${version} (${PROVIDER_FILES.join(' and ')}) is not usable: ${why}.`,
    `Install PyPI's onnxruntime-gpu==${version} and name its onnxruntime/capi in SAE_PIPE_CUDA_LIBS, or use --device cpu.`,
    'onnx/no-provider',
  );
}

/** The version of a directory's provider: as its Python package says, or as its file does; undefined: neither does. */
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

/** Bytes of a file that are looked through at a time, and those that are looked at twice. */
const [PIECE, OVERLAP] = [2 ** 24, 32];

/** The version of ONNX Runtime that stands in its provider as a text between zeros. */
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

/** Where the ONNX Runtime of this package has its libraries. */
export function runtimeDirectory(): string {
  const bin = join(dirname(packages.resolve('onnxruntime-node')), '..', 'bin');
  const version = readdirSync(bin).find((name) => name.startsWith('napi-'))!;
  return join(bin, version, process.platform, process.arch);
}

/** The library stays loaded, whoever closes it (glibc's RTLD_NODELETE, which Node does not name). */
const NODELETE = 0x1000;

/** Loads a library for the whole process; others that need one of its name then get it. @throws Error of the loader */
function preload(path: string): void {
  try {
    process.dlopen({ exports: {} }, path, constants.dlopen.RTLD_LAZY | constants.dlopen.RTLD_GLOBAL | NODELETE);
  } catch (error) {
    // It is loaded, and is not an addon of Node.
    if (!(error as Error).message.startsWith('Module did not self-register')) throw error;
  }
}

/**
 * A directory of links to ONNX Runtime and to a provider that lies elsewhere: ONNX Runtime looks for its provider next
 * to the file that it was loaded as, and does not follow links.
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

/** Are the links there, or could they be made? Another process may make the same ones meanwhile. */
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

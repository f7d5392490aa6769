/** Finds and loads CUDA's libraries, for the training engine and for ONNX Runtime's CUDA provider. */
import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { homeDirectory } from '../disk/space.js';
import { Refusal } from '../errors/refusal.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** A place to search for libraries: a directory, or the system loader's search path (null). */
export interface LibraryPlace {
  /** Where the place comes from. */
  readonly origin: string;
  readonly directory: string | null;
}

/** A library, under the file names of supported versions, best first. */
export interface Library {
  readonly name: string;
  readonly files: readonly string[];
  /** How to install it. */
  readonly remedy: string;
}

const NAMED = 'or name its directory in SAE_PIPE_CUDA_LIBS';

/** Used by the training engine. The numbers are CUDA's major versions; the driver's library is always `.1`. */
export const DRIVER: Library = {
  name: "NVIDIA's driver",
  files: ['libcuda.so.1'],
  remedy: `Install the driver, in a container pass the GPU through (docker run --gpus all), ${NAMED}.`,
};
export const NVRTC: Library = {
  name: "CUDA's run-time compiler NVRTC",
  files: ['libnvrtc.so.13', 'libnvrtc.so.12'],
  remedy: `Install the CUDA toolkit 12 or 13 or the Python package nvidia-cuda-nvrtc, ${NAMED}.`,
};
export const CUBLAS: Library = {
  name: 'cuBLAS',
  files: ['libcublas.so.13', 'libcublas.so.12'],
  remedy: `Install the CUDA toolkit 12 or 13 or the Python package nvidia-cublas, ${NAMED}.`,
};

/** Loaded by ONNX Runtime's provider, in dependency order: it is built for CUDA 13. */
export const PROVIDER_LIBRARIES: readonly Library[] = [
  DRIVER,
  ofProvider("CUDA's runtime", 'libcudart.so.13', 'nvidia-cuda-runtime'),
  ofProvider("cuBLAS's other half", 'libcublasLt.so.13', 'nvidia-cublas'),
  ofProvider('cuBLAS', 'libcublas.so.13', 'nvidia-cublas'),
  ofProvider('cuRAND', 'libcurand.so.10', 'nvidia-curand'),
];
/** Loaded when an operator first needs it. */
export const CUDNN = ofProvider('cuDNN', 'libcudnn.so.9', 'nvidia-cudnn-cu13');

function ofProvider(name: string, file: string, python: string): Library {
  const remedy = `Install the CUDA toolkit 13${name === 'cuDNN' ? ' and cuDNN 9' : ''} or the Python package ${python}, ${NAMED}.`;
  return { name, files: [file], remedy };
}

/** Location of the provider in the Python package onnxruntime-gpu, below site-packages. */
const CAPI = join('onnxruntime', 'capi');

/**
 * Places to search for CUDA's libraries, in order: SAE_PIPE_CUDA_LIBS, the system loader's path, the current
 * LD_LIBRARY_PATH, toolkits below /usr/local (newest first), NVIDIA's Python packages.
 *
 * @param root the file system's, for tests
 */
export function places(environment: Environment = process.env, root = '/'): LibraryPlace[] {
  const listed = (name: string) => (environment[name] ?? '').split(':').filter((path) => path !== '');
  const named = listed('SAE_PIPE_CUDA_LIBS').flatMap((path) => [path, ...below(path)]);
  const local = join(root, 'usr/local');
  const toolkits = entries(local)
    .filter((name) => /^cuda(-[\d.]+)?$/.test(name))
    .sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
    .flatMap((name) => [join(local, name, 'lib64'), join(local, name, 'lib')]);
  const from = (origin: string, directories: readonly string[]) =>
    directories.map((directory) => ({ origin, directory }));
  const all: LibraryPlace[] = [
    ...from('SAE_PIPE_CUDA_LIBS', named),
    { origin: "the system's loader", directory: null },
    ...from('LD_LIBRARY_PATH', listed('LD_LIBRARY_PATH')),
    ...from('CUDA toolkits', toolkits.filter(existsSync)),
    ...from('Python packages', pythonPackages(environment, local)),
  ];
  // Links among them (cuda → cuda-13.0, lib → lib64) are the same place, and would only lengthen the message.
  const real = all.map(({ directory }) =>
    directory !== null && existsSync(directory) ? realpathSync(directory) : directory,
  );
  return all.filter((_, i) => real.indexOf(real[i]!) === i);
}

/** May name a toolkit, an environment's site-packages, or a plain directory of libraries. */
function below(path: string): string[] {
  return ['lib64', 'lib', ...nvidia(path), CAPI].map((name) => join(path, name)).filter(existsSync);
}

/** nvidia/PACKAGE/lib, the layout of NVIDIA's Python packages. */
function nvidia(sitePackages: string): string[] {
  return entries(join(sitePackages, 'nvidia')).map((name) => join('nvidia', name, 'lib'));
}

/** From active environments, and from Pythons on the PATH. */
function pythonPackages(environment: Environment, local: string): string[] {
  const active = [environment.VIRTUAL_ENV, environment.CONDA_PREFIX].filter((path) => path !== undefined);
  const onPath = (environment.PATH ?? '').split(':').filter((path) => path !== '' && existsSync(join(path, 'python3')));
  const home = environment.HOME ?? homeDirectory();
  const own = home === undefined ? [] : [join(home, '.local')];
  const prefixes = new Set([...active, ...onPath.map(dirname), ...own, local]);
  const found = [...prefixes].flatMap((prefix) =>
    entries(join(prefix, 'lib'))
      .filter((name) => /^python3/.test(name))
      .flatMap((name) => ['site-packages', 'dist-packages'].map((kind) => join(prefix, 'lib', name, kind)))
      .flatMap((packages) => [...nvidia(packages), CAPI].map((name) => join(packages, name))),
  );
  return found.filter(existsSync);
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return [];
  }
}

/** A loaded library, and where it was found. */
export interface LoadedLibrary<T> {
  readonly library: T;
  /** Where the place comes from. */
  readonly origin: string;
  /** Its path, or its name if the system loader found it. */
  readonly path: string;
}

/**
 * Loads the first of a library's files that exists, place by place.
 *
 * @param load throws if the file does not exist or cannot be loaded
 * @param newest major CUDA version supported by the driver; newer libraries are skipped
 * @throws Refusal naming the library, every place searched, and the obstacles
 */
export function findLibrary<T>(
  { name, files, remedy }: Library,
  where: readonly LibraryPlace[],
  load: (path: string) => T,
  newest = Number.POSITIVE_INFINITY,
): LoadedLibrary<T> {
  const obstacles: string[] = [];
  for (const { origin, directory } of where) {
    for (const file of files) {
      const path = directory === null ? file : join(directory, file);
      if (directory !== null && !existsSync(path)) continue;
      try {
        if (majorOf(file) <= newest) return { library: load(path), origin, path };
        // Only trying shows whether the system loader has it.
        if (directory === null) load(path);
        obstacles.push(`${path} is newer than the driver, which supports CUDA ${newest}`);
      } catch (error) {
        // That the system loader does not find a file is expected.
        const absent = directory === null && /No such file/.test((error as Error).message);
        if (!absent) obstacles.push(`${path} did not load: ${(error as Error).message}`);
      }
    }
  }
  const looked = where.map(({ origin, directory }) => (directory === null ? origin : `${directory} (${origin})`));
  const why = obstacles.length > 0 ? `; ${obstacles.join('; ')}` : '';
  throw new Refusal(
    `${name} (${files.join(' or ')}) is not usable: searched ${looked.join(', ')}${why}.`,
    remedy,
    'cuda/no-library',
  );
}

/** Of `libnvrtc.so.12`: 12. */
function majorOf(file: string): number {
  return Number(/\.so\.(\d+)$/.exec(file)![1]);
}

/** SAE_PIPE_CUDA_CACHE, or `sae-pipe/cuda` below the user's cache directory (XDG Base Directory Specification). */
export function cudaCacheDirectory(environment: Environment = process.env): string | undefined {
  const home = homeDirectory();
  const below = environment.XDG_CACHE_HOME?.trim() || (home && join(home, '.cache'));
  const directory = environment.SAE_PIPE_CUDA_CACHE?.trim() || (below && join(below, 'sae-pipe', 'cuda'));
  return directory === undefined ? undefined : resolve(directory);
}

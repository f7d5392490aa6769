/** NVIDIA's GPUs as nvidia-smi lists them. */
import { execFile } from 'node:child_process';

/** An NVIDIA GPU, bytes. */
export interface Gpu {
  readonly name: string;
  readonly total: number;
  readonly free: number;
}

/** Timeout for a driver, in milliseconds. */
const PATIENCE = 60_000;

/** NVIDIA GPUs as listed by nvidia-smi; none without a driver. */
export async function gpus(): Promise<Gpu[]> {
  const query = ['--query-gpu=name,memory.total,memory.free', '--format=csv,noheader,nounits'];
  return new Promise((resolve) => {
    execFile('nvidia-smi', query, { timeout: PATIENCE }, (error, stdout) => resolve(error ? [] : parseGpus(stdout)));
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

/**
 * Free bytes on the GPU named `cuda` or `cuda:N`; undefined if unknown.
 *
 * @param all in nvidia-smi's order, which is by bus position
 */
export function freeOnGpu(
  device: string,
  all: readonly Gpu[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): number | undefined {
  const ordinal = Number(device.split(':')[1] ?? 0);
  const visible = environment.CUDA_VISIBLE_DEVICES?.trim();
  if (visible !== undefined) {
    const index = visible.split(',')[ordinal]?.trim();
    // GPUs may be selected by UUID, which is not queried here.
    return index !== undefined && /^\d+$/.test(index) ? all[Number(index)]?.free : undefined;
  }
  // With unlike GPUs, the driver may number the fastest first.
  const alike = all.every(({ name }) => name === all[0]!.name);
  if (alike || environment.CUDA_DEVICE_ORDER === 'PCI_BUS_ID') return all[ordinal]?.free;
  return ordinal < all.length ? Math.min(...all.map(({ free }) => free)) : undefined;
}

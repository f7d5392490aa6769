/** NVIDIA's GPUs as nvidia-smi lists them. */
import { execFile } from 'node:child_process';

/** An NVIDIA GPU, bytes. */
export interface Gpu {
  readonly name: string;
  readonly total: number;
  readonly free: number;
}

/** Milliseconds that a driver may take to answer. */
const PATIENCE = 60_000;

/** NVIDIA GPUs as nvidia-smi lists them; none where there is no driver. */
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
 * Bytes that are free on the GPU of a device's name, `cuda` or `cuda:N`; undefined where that cannot be told.
 *
 * @param all as nvidia-smi counts them, which is by their place on the bus
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
    // GPUs may be named by their identifiers, which are not asked for.
    return index !== undefined && /^\d+$/.test(index) ? all[Number(index)]?.free : undefined;
  }
  // Of unlike GPUs the driver may count the fastest first.
  const alike = all.every(({ name }) => name === all[0]!.name);
  if (alike || environment.CUDA_DEVICE_ORDER === 'PCI_BUS_ID') return all[ordinal]?.free;
  return ordinal < all.length ? Math.min(...all.map(({ free }) => free)) : undefined;
}

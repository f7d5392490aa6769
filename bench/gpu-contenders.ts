import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { watchMemory } from './peak-memory.js';

/** One way to compute a training step on a GPU, run in a separate process so that its memory is counted separately. */
export interface GpuContender {
  /** What the table calls it. */
  readonly label: string;
  readonly program: 'ours' | 'peer';
  readonly name: string;
  readonly precision: 'float32' | 'tf32' | 'bfloat16';
}

/** What a contender prints, and the most memory that it held on the GPU; a string says why it could not be run. */
export interface GpuTiming {
  /** Mean milliseconds per step of each round. */
  readonly ms: readonly number[];
  readonly version: string;
  readonly l0: number | null;
  /** With the parameters of the start file, on its first batch. */
  readonly loss: number | null;
  readonly peak: number | null;
}

export function gpuContenders(): GpuContender[] {
  const ours = (name: string, label: string, precision: GpuContender['precision']): GpuContender => {
    return { label: `${label}, ${precision}`, program: 'ours', name, precision };
  };
  const peer = (name: string, label: string, precision: GpuContender['precision']): GpuContender => {
    return { label: `${label}, ${precision}`, program: 'peer', name, precision };
  };
  return [
    ours('step', 'CUDA engine', 'float32'),
    ours('step', 'CUDA engine', 'tf32'),
    ours('step', 'CUDA engine', 'bfloat16'),
    peer('pytorch-eager', 'PyTorch, eager', 'tf32'),
    peer('pytorch-eager', 'PyTorch, eager, autocast', 'bfloat16'),
    peer('pytorch-compile', 'PyTorch, torch.compile', 'tf32'),
    peer('pytorch-compile', 'PyTorch, torch.compile, autocast', 'bfloat16'),
    peer('saelens', 'SAELens', 'tf32'),
    ours('product', 'encoder product alone, cuBLAS', 'tf32'),
    ours('product', 'encoder product alone, cuBLAS', 'bfloat16'),
    peer('product', 'encoder product alone, PyTorch', 'tf32'),
    peer('product', 'encoder product alone, PyTorch', 'bfloat16'),
  ];
}

/** How often a run repeats. */
export interface GpuRun {
  readonly warmup: number;
  /** Steps of a round. */
  readonly steps: number;
  readonly rounds: number;
  readonly python: string;
}

/** Runs a contender, or `rates`, to its end; the last line that it prints is its answer. */
export async function answer<T>(
  { program, name, precision }: Omit<GpuContender, 'label'>,
  start: string,
  { warmup, steps, rounds, python }: GpuRun,
): Promise<(T & { readonly peak: number | null }) | string> {
  const flags = { contender: name, precision, start, warmup, steps, rounds };
  const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
  const [command, script] =
    program === 'ours'
      ? [process.execPath, fileURLToPath(new URL('gpu-step.js', import.meta.url))]
      : [python, 'bench/peers/gpu_step.py'];
  const child = spawn(command, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const watch = watchMemory(child, 'cuda');
  let last = '';
  createInterface({ input: child.stdout }).on('line', (line) => {
    last = line;
  });
  const how = await new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(`it ended with ${signal ?? code} and no answer`));
  });
  const peak = watch.end();
  if (!last.startsWith('{')) return how;
  const found = JSON.parse(last) as T & { error?: string };
  return found.error ?? { ...found, peak };
}

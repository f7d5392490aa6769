import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { CudaTrial } from '../train/engines/cuda/gpu.js';
import { foundLines, obstacleLines, type ProviderReport, providerNotes } from './provider-report.js';

/** An execution provider of ONNX Runtime, by the name that --device takes. */
export interface Provider {
  readonly name: 'cpu' | 'cuda' | 'webgpu';
  readonly available: boolean;
  /** What prevents its use. */
  readonly reasons: readonly string[];
  /** Libraries that it loads, by where they were found. */
  readonly found?: readonly string[];
  /** Notes, if it is available. */
  readonly notes?: readonly string[];
}

/** Tries each provider with a small graph, in separate processes. */
export async function providers(): Promise<Provider[]> {
  return Promise.all((['cpu', 'cuda', 'webgpu'] as const).map(tried));
}

async function tried(name: Provider['name']): Promise<Provider> {
  const { answer, stderr, died } = await probe('device', name);
  const error = died ?? (answer as { error?: string } | undefined)?.error;
  const cuda = name === 'cuda' ? await cudaProvider() : undefined;
  const found = cuda && { found: foundLines(cuda) };
  if (error === undefined)
    return { name, available: true, reasons: [], ...found, ...(cuda && { notes: providerNotes(cuda) }) };
  const obstacles = cuda ? obstacleLines(cuda) : [];
  // The provider's own refusal is listed with the obstacles.
  const rest = [sentence(error), ...loaderLines(stderr)].filter((line) => !obstacles.includes(line));
  return { name, available: false, reasons: [...obstacles, ...rest], ...found };
}

/** State of the CUDA provider; undefined if unknown. */
async function cudaProvider(): Promise<ProviderReport | undefined> {
  return (await probe('provider')).answer as ProviderReport | undefined;
}
/** Timeout for a driver, in milliseconds. */
const PROBE_PATIENCE = 60_000;

/** Keeps SIGUSR1 from opening Node's debugger in the child process, if this Node version can. */
const NO_DEBUGGER = process.allowedNodeEnvironmentFlags.has('--disable-sigusr1') ? ['--disable-sigusr1'] : [];

/** Runs provider-probe.ts in a process that may crash. */
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

/** The end of ONNX Runtime's message; source files and conditions come before it. */
function sentence(message: string): string {
  const line = message.trim().replace(/\s+/g, ' ').replace(/\.$/, '');
  return line.replace(/^.* was false\. /, '');
}

/** Lines of a driver's complaints that name a library. */
function loaderLines(stderr: string): string[] {
  return stderr
    .split('\n')
    .filter((line) => /\.so\b/.test(line))
    .map((line) => line.trim().replace(/^Warning: /, ''));
}

/** Whether `train --engine cuda` can use this GPU; tried in a separate process. */
export async function cudaTraining(device: string): Promise<CudaTrial> {
  const ordinal = /^cuda:(\d+)$/.exec(device)?.[1] ?? '0';
  const { answer, died } = await probe('training', ordinal);
  if (died !== undefined) return { found: [], missing: [], reason: died };
  const trial = answer as CudaTrial & { error?: string };
  return trial.error === undefined ? trial : { found: [], missing: [], reason: trial.error };
}

/** The result in a line or two. */
export function cudaTrainingLines({ gpu, found, missing, reason }: CudaTrial): string[] {
  if (gpu) {
    const { driver, compiler, capability } = gpu.versions;
    return [`ready: ${gpu.name}, compute capability ${capability}, driver for CUDA ${driver}, NVRTC ${compiler}`];
  }
  const obstacle = missing.length > 0 ? `not found: ${missing.join(', ')}` : (reason ?? 'no answer').replace(/\.$/, '');
  const there = found.length > 0 ? [`found: ${found.join(', ')}`] : [];
  return [`no: ${obstacle}`, ...there];
}

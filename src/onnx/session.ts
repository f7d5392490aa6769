import { parse } from 'node:path';
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { cores } from '../machine/cores.js';
import { type CudaProvider, prepareCudaProvider } from './cuda-provider.js';
import './environment.js';

/** Where a graph runs: `cpu`, `cuda`, `cuda:N` or `webgpu`. */
export type Device = string;

export interface SessionOptions {
  readonly device?: Device;
  /** Threads per operator; by default one per available core. */
  readonly threads?: number;
}

export type Feeds = Record<string, Tensor>;
/** Names of wanted outputs, each with a tensor to write into, or null for a new one. */
export type Fetches = Record<string, Tensor | null>;

/** A graph ready to run. `run` blocks the calling thread until it is done. */
export interface Session {
  run(feeds: Feeds, fetches?: Fetches): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}

let runtime: Promise<typeof import('onnxruntime-node')> | undefined;

/** ONNX Runtime, loaded on first use: the command line must respond to `--help` without it. */
export function onnxRuntime(): Promise<typeof import('onnxruntime-node')> {
  runtime ??= load();
  return runtime;
}

async function load(): Promise<typeof import('onnxruntime-node')> {
  const ort = await import('onnxruntime-node');
  // Errors are thrown, and reported once, by us.
  ort.env.logLevel = 'fatal';
  return ort;
}

/**
 * Opens a graph made by GraphBuilder. Weights are read directly from their files: locations of external data are
 * absolute paths without the leading slash, which ONNX Runtime resolves against the root directory, so they may be
 * anywhere on disk without links or copies. (It refuses locations outside of the given directory; none is outside `/`.)
 *
 * @throws Refusal if the device is not available or the graph cannot be loaded
 */
export async function openSession(model: Uint8Array, options: SessionOptions = {}): Promise<Session> {
  const device = options.device ?? 'cpu';
  const provider = executionProvider(device);
  const cuda = device.startsWith('cuda') ? await prepareCudaProvider() : undefined;
  if (cuda?.refusal) throw withoutProvider(device, cuda.refusal);
  const ort = await onnxRuntime();
  const settings: InferenceSession.SessionOptions = {
    executionProviders: [provider],
    intraOpNumThreads: options.threads || cores(),
    // Fatal only: errors are thrown.
    logSeverityLevel: 4,
    extra: {
      'session.model_external_initializers_file_folder_path': parse(process.cwd()).root,
      // Threads waiting for an operator sleep. Spinning ones would take cores from whatever runs in parallel:
      // tokenizing, scanning of features, the workers of the sparse engine.
      'session.intra_op.allow_spinning': '0',
      // Weights on a GPU take exactly their size, not that of an arena that grows by doubling.
      ...(cuda && { 'session.use_device_allocator_for_initializers': '1' }),
    },
  };
  let session: InferenceSession;
  try {
    const graph = device === 'webgpu' ? (await import('./webgpu.js')).forWebGpu(model) : model;
    session = await ort.InferenceSession.create(graph, settings);
  } catch (cause) {
    throw notOpened(device, cause, cuda);
  }
  return {
    run: async (feeds, fetches) => {
      try {
        return (await (fetches ? session.run(feeds, fetches) : session.run(feeds))) as Record<string, Tensor>;
      } catch (error) {
        throw lacksFloat16(error) ? withoutFloat16(device, error) : error;
      }
    },
    release: () => session.release(),
  };
}

/** The refusal of a provider, naming the device that needs it. */
function withoutProvider(device: Device, cause: Refusal): Refusal {
  const why = cause.message.replace(/^The /, 'the ');
  return new Refusal(`Device ${device} could not be used: ${why}`, cause.remedy, cause.code, { cause });
}

/** The refusal of a graph for which no session could be opened, in ONNX Runtime's words. */
function notOpened(device: Device, cause: unknown, cuda: CudaProvider | undefined): Refusal {
  const reason = (cause instanceof Error ? cause.message : String(cause))
    .trim()
    .replace(/\s+/g, ' ')
    .replace(/\.$/, '');
  if (device === 'cpu') {
    return new Refusal(
      `ONNX Runtime could not load the graph: ${reason}.`,
      'Check that the files of the model and of the SAEs are complete.',
      'onnx/graph-not-loaded',
      { cause },
    );
  }
  const missing = cuda?.missing.map(({ file }) => file) ?? [];
  const lacking = missing.length > 0 ? ` (not loaded: ${missing.join(', ')})` : '';
  return new Refusal(
    `Device ${device} could not be used: ${reason}${lacking}.`,
    remedyOf(cuda),
    'onnx/device-unusable',
    { cause },
  );
}

function remedyOf(cuda: CudaProvider | undefined): string {
  if (!cuda) return 'Use --device cpu, or install the execution provider and its libraries.';
  return cuda.late
    ? 'ONNX Runtime was already loaded for the CPU, and now only looks for its provider next to its own library: open CUDA sessions first, or put the provider there.'
    : 'Run sae-pipe doctor --device cuda, list the directories of the libraries in SAE_PIPE_CUDA_LIBS, or use --device cpu.';
}

/** Did a run fail because the GPU has no float16 (WebGPU's optional feature shader-f16)? */
function lacksFloat16(error: unknown): boolean {
  return error instanceof Error && /requires f16 but the device does not support it/.test(error.message);
}

function withoutFloat16(device: Device, cause: unknown): Refusal {
  return new Refusal(
    `The GPU of --device ${device} does not support float16.`,
    'Use --precision float32, stores of bfloat16 or float32 (--dtype) and weights that are not float16, or --device cpu.',
    'onnx/no-float16',
    { cause },
  );
}

function executionProvider(device: Device): InferenceSession.ExecutionProviderConfig {
  const match = /^(cpu|webgpu|cuda(?::(\d+))?)$/.exec(device);
  if (!match)
    throw new UsageRefusal(`"${device}" is not a device.`, 'Use cpu, cuda, cuda:N or webgpu.', 'onnx/no-device');
  if (device === 'cpu' || device === 'webgpu') return device;
  return { name: 'cuda', deviceId: Number(match[2] ?? 0) };
}

/**
 * Returns a factory of float16 tensors from bits, [dims].
 *
 * If JavaScript has a Float16Array (Node 24 and later), ONNX Runtime's Tensor wraps the bits in one, and its native
 * part then finds no data; it reads plain bits everywhere.
 */
export async function float16Tensors(): Promise<(bits: Uint16Array, dims: readonly number[]) => Tensor> {
  const { Tensor } = await onnxRuntime();
  return (bits, dims) => {
    const tensor = new Tensor('float16', bits, dims);
    if (!(tensor.data instanceof Uint16Array)) Object.defineProperty(tensor, 'data', { value: bits });
    return tensor;
  };
}

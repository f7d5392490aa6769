import { parentPort, workerData } from 'node:worker_threads';
import type { SparseForm } from '../../../sae/architecture.js';
import type { SettledSettings, StepSettings } from '../engine.js';
import { bindKernels } from './kernels.js';
import { Arena, planSlice } from './memory.js';
import type { ProductGraphs } from './product-graphs.js';
import { Products } from './products.js';
import { type Profile, Stopwatch } from './select.js';
import { Slice, type SliceSums } from './slice.js';
import { Exchange, type Shared } from './worker-pool.js';

/** Start data of a worker. */
export interface WorkerStart {
  readonly settings: SettledSettings;
  readonly form: SparseForm;
  readonly index: number;
  readonly features: number;
  readonly steps: number;
  readonly shared: Shared;
  readonly module: WebAssembly.Module;
  readonly graphs: ProductGraphs;
}

export type Request =
  | { readonly kind: 'step'; readonly step: StepSettings }
  | { readonly kind: 'state'; readonly names: readonly string[] }
  /** Loads its part of a state array, in the arena's layout, as of the steps done. */
  | { readonly kind: 'load'; readonly name: string; readonly values: Float32Array<ArrayBuffer> }
  /** Releases ONNX Runtime's memory, which a terminating thread would not do. */
  | { readonly kind: 'release' };

export type Reply =
  | { readonly kind: 'ready' }
  | { readonly kind: 'loaded' }
  | { readonly kind: 'released' }
  | { readonly kind: 'step'; readonly sums: SliceSums; readonly profile: Profile }
  | { readonly kind: 'state'; readonly state: ReadonlyMap<string, Float32Array> };

async function main(port: NonNullable<typeof parentPort>): Promise<void> {
  const { settings, form, index, features, steps, shared, module, graphs } = workerData as WorkerStart;
  const exchange = new Exchange(shared, index);
  const arena = new Arena(planSlice({ settings, form, features, workers: exchange.workers }));
  const products = await Products.open(arena, graphs);
  const kernels = bindKernels(module, arena.memory);
  const watch = new Stopwatch();
  const slice = new Slice({ settings, form, features, arena, kernels, products, exchange, watch }, steps);

  async function answer(request: Request): Promise<Reply> {
    if (request.kind === 'step') {
      return { kind: 'step', sums: await slice.step(request.step), profile: { ...watch.spent } };
    }
    if (request.kind === 'release') {
      await products.close();
      return { kind: 'released' };
    }
    // Lazy moments must be up to date, whether they are read or replaced.
    slice.settle();
    if (request.kind === 'load') {
      arena.f32(request.name).set(request.values);
      return { kind: 'loaded' };
    }
    return { kind: 'state', state: new Map(request.names.map((name) => [name, arena.f32(name).slice()])) };
  }

  port.on('message', async (request: Request) => {
    const reply = await answer(request);
    const transfer = reply.kind === 'state' ? [...reply.state.values()].map((values) => values.buffer) : [];
    port.postMessage(reply, transfer as ArrayBuffer[]);
  });
  port.postMessage({ kind: 'ready' } satisfies Reply);
}

if (!parentPort) throw new Error('worker.js runs in a worker thread');
await main(parentPort);

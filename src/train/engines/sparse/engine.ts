import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import type { Batch } from '../../../activations/activation-source.js';
import { formatBytes } from '../../../disk/space.js';
import { Refusal } from '../../../errors/refusal.js';
import { cores } from '../../../machine/cores.js';
import { onnxRuntime } from '../../../onnx/session.js';
import type { SparseForm } from '../../../sae/architecture.js';
import { parametersOf } from '../../../sae/registry.js';
import type { Sae, Sizes } from '../../../sae/sae.js';
import {
  type Engine,
  type EngineSettings,
  type StepMetrics,
  type StepSettings,
  sizesOf,
  type TrainerState,
} from '../engine.js';
import { checkSizes, formOf, saeOf, settled, stateShapes } from '../state.js';
import { compileKernels } from './kernels.js';
import {
  countsTokens,
  exchangedSums,
  featuresOf,
  LARGEST_MEMORY,
  limitOf,
  padded,
  planSlice,
  putPart,
  rangeOf,
  TALLIES,
  TALLY,
  takePart,
} from './memory.js';
import { productGraphs } from './product-graphs.js';
import { PARTS, type Profile } from './select.js';
import type { SliceSums } from './slice.js';
import type { Reply, Request, WorkerStart } from './worker.js';
import { allocateShared, type SharedSizes, sharedBytes, WorkerPool } from './worker-pool.js';

/** An engine that also reports its profile. */
export interface SparseEngine extends Engine {
  readonly workers: number;
  /** Milliseconds per part, averaged over the workers, since the engine was opened. */
  profile(): Profile;
}

/** Below this many features, another worker costs more than it gains. */
const FEWEST_FEATURES = 64;

/**
 * Heap size in MiB at which V8 starts full garbage collections of a worker. ONNX Runtime returns a copy of each
 * product, which V8 counts as part of the heap: at its own, small limit it would mark the whole heap several times per
 * step, on threads that compete with the workers. Copies are freed young anyway, so no additional memory is used.
 */
const LARGE_HEAP = '--initial-old-space-size=256';

/** Number of workers and bytes for a run. */
export interface SparsePlan {
  readonly workers: number;
  readonly bytes: number;
}

/** One worker per core, or more if each slice would otherwise not fit a WebAssembly.Memory. */
export function planWorkers(settings: EngineSettings): SparsePlan {
  const { dSae } = settings;
  const form = formOf('sparse', settings);
  const wanted = settings.threads || cores();
  const known = settled(settings);
  const slice = (workers: number) =>
    planSlice({ settings: known, form, features: Math.ceil(dSae / workers), workers }).bytes;
  let workers = Math.max(1, Math.min(wanted, Math.floor(dSae / FEWEST_FEATURES)));
  // A slice only shrinks with more workers, so bisection finds the smallest number, for any size.
  for (let most = slice(workers) > LARGEST_MEMORY ? Math.max(workers, dSae) : workers; workers < most; ) {
    const middle = workers + Math.floor((most - workers) / 2);
    if (slice(middle) > LARGEST_MEMORY) workers = middle + 1;
    else most = middle;
  }
  const shared = Object.values(sharedBytes(sharedSizes(settings, form, workers)));
  return { workers, bytes: workers * slice(workers) + shared.reduce((a, b) => a + b, 0) };
}

function sharedSizes(settings: EngineSettings, form: SparseForm, workers: number): SharedSizes {
  const { batch, batchDType, dIn, dOut } = settings;
  const bytes = (width: number) => batch * width * (batchDType === 'float32' ? 4 : 2);
  return {
    workers,
    ...{ batchBytes: bytes(dIn), targetBytes: bytes(dOut ?? 0) },
    ...{ B: batch, dIn: padded(dIn), dOut: padded(dOut ?? dIn) },
    sums: exchangedSums(form).length + (form.auxK ? 1 : 0),
    limits: [limitOf(form), form.auxK?.k ?? 0],
    tallies: form.select.kind === 'k-per-batch' ? TALLIES * TALLY : 0,
    counts: countsTokens(form),
  };
}

/**
 * The sparse engine (README.md in the folder above): an exact step at little more than the cost of its encoder product.
 *
 * @param start parameters, or a complete state to continue from; missing parts of the state start at zero
 * @param steps steps already done
 */
export async function openSparseEngine(
  settings: EngineSettings,
  start: TrainerState,
  steps = 0,
): Promise<SparseEngine> {
  const form = formOf('sparse', settings);
  checkSizes(start, settings, 'start');
  const { workers } = planWorkers(settings);
  checkAddressSpace(workers);
  // Its settings are environment variables, which are not visible in a worker's copy of the environment.
  await onnxRuntime();
  const module = await compileKernels();
  const shared = allocateShared(sharedSizes(settings, form, workers));
  const ranges = Array.from({ length: workers }, (_, index) => featuresOf(settings.dSae, index, workers));
  setFlagsFromString(LARGE_HEAP);
  const same = { settings: settled(settings), form, steps, shared, module, graphs: productGraphs() };
  const starts = ranges.map(([first, last], index): WorkerStart => ({ ...same, index, features: last - first }));
  const pool = new WorkerPool<WorkerStart, Request, Reply>(new URL('worker.js', import.meta.url), starts);
  await pool.ready();
  const state = new SharedState(settings, pool, workers);
  await state.scatter(start);
  const sharedBatch = batchView(settings.batchDType, shared.batch);
  const sharedTarget = batchView(settings.batchDType, shared.target);
  let profiles: Profile[] = [];

  return {
    workers,
    async step({ x, y }: Batch, step: StepSettings): Promise<StepMetrics> {
      sharedBatch.set(x);
      if (y) sharedTarget.set(y);
      steps++;
      const replies = (await pool.ask({ kind: 'step', step })).filter((reply) => reply.kind === 'step');
      profiles = replies.map((reply) => reply.profile);
      return metricsOf(
        replies.map((reply) => reply.sums),
        settings.batch,
        form.penalty === 'none' ? 0 : step.l1,
      );
    },
    get steps() {
      return steps;
    },
    async sae(): Promise<Sae> {
      return saeOf(settings, await state.gather(parametersOf(settings)));
    },
    state: () => state.gather([...stateShapes(settings).keys()]),
    async load(values) {
      checkSizes(values, settings, 'whole');
      await state.scatter(values);
    },
    profile() {
      const mean = (part: (typeof PARTS)[number]) =>
        profiles.reduce((total, profile) => total + profile[part], 0) / (profiles.length || 1);
      return Object.fromEntries(PARTS.map((part) => [part, mean(part)])) as Profile;
    },
    async close() {
      // Workers that have failed, or are in a step, are terminated.
      if (pool.idle) await pool.ask({ kind: 'release' }).catch(() => {});
      await pool.close();
    },
  };
}

function batchView(type: EngineSettings['batchDType'], buffer: SharedArrayBuffer): Uint16Array | Float32Array {
  return type === 'float32' ? new Float32Array(buffer) : new Uint16Array(buffer);
}

/** A step's figures from the workers' shares. */
function metricsOf(sums: readonly SliceSums[], batch: number, l1: number): StepMetrics {
  const sum = (of: (s: SliceSums) => number) => sums.reduce((total, s) => total + of(s), 0);
  return {
    mse: sum((s) => s.squares) / batch,
    l1: (l1 * sum((s) => s.l1)) / batch,
    aux: sum((s) => s.auxSquares) / batch,
    l0: sum((s) => s.active) / batch,
    variance: sum((s) => s.variance) / batch,
    dead: sum((s) => s.dead),
    written: sum((s) => s.written),
  };
}

/** The state in the workers' memories. */
class SharedState {
  private readonly shapes: Map<string, readonly number[]>;
  private readonly sizes: Sizes;

  constructor(
    settings: EngineSettings,
    private readonly pool: WorkerPool<WorkerStart, Request, Reply>,
    private readonly workers: number,
  ) {
    this.shapes = stateShapes(settings);
    this.sizes = sizesOf(settings);
  }

  /** One array at a time, so that only one of them exists twice. */
  async scatter(state: TrainerState): Promise<void> {
    for (const name of this.shapes.keys()) {
      const whole = state.get(name);
      // Memory that is never written costs nothing.
      if (!whole) continue;
      const parts = this.rangesOf(name).map((range) => takePart(name, whole, this.sizes, range));
      await this.pool.askEach(
        parts.map((values) => ({ request: { kind: 'load', name, values }, transfer: [values.buffer] })),
      );
    }
  }

  private rangesOf(name: string): (readonly [number, number])[] {
    return Array.from({ length: this.workers }, (_, index) => rangeOf(name, this.sizes, index, this.workers));
  }

  async gather(names: readonly string[]): Promise<Map<string, Float32Array>> {
    const replies = await this.pool.ask({ kind: 'state', names });
    const state = new Map<string, Float32Array>();
    for (const name of names) {
      const values = new Float32Array(this.shapes.get(name)!.reduce((product, dim) => product * dim, 1));
      const ranges = this.rangesOf(name);
      replies.forEach((reply, index) => {
        if (reply.kind === 'state') putPart(name, reply.state.get(name)!, values, this.sizes, ranges[index]!);
      });
      state.set(name, values);
    }
    return state;
  }
}

/**
 * Address space that V8 reserves for a WebAssembly.Memory of any size: 8 GiB reachable by 32-bit addresses with 32-bit
 * offsets, and guard pages, so that it need not check bounds (kFullGuardSize in V8's backing-store.cc). Not memory.
 */
const RESERVED = 10 * 2 ** 30;
/** Reserved by Node.js, ONNX Runtime and thread stacks; measured, rounded up. */
const PROGRAM = 4 * 2 ** 30;
/** With this option V8 checks bounds and reserves nothing. */
const CHECKS_BOUNDS = '--disable-wasm-trap-handler';

/** Bytes of address space available to this process (`ulimit -v`); infinite if unlimited or unknown. */
function addressSpace(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    return Number(/^Max address space\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/**
 * Checks that the memories of all workers can be created: otherwise, libraries abort the process in the middle of
 * a call.
 *
 * @throws Refusal with the limit and the requirement
 */
export function checkAddressSpace(workers: number, limit = addressSpace(), options = nodeOptions()): void {
  const needed = workers * RESERVED + PROGRAM;
  if (limit >= needed || options.includes(CHECKS_BOUNDS)) return;
  const threads = Math.floor((limit - PROGRAM) / RESERVED);
  const fewer = threads > 0 ? `--threads ${threads}` : '--engine reference';
  throw new Refusal(
    `The address space of this process is limited to ${formatBytes(limit)} (ulimit -v), and ${workers} threads of the sparse engine reserve ${formatBytes(needed)} of it (not memory).`,
    `Set NODE_OPTIONS=${CHECKS_BOUNDS} (Node.js 20.15 or newer), raise the limit, or use ${fewer}.`,
    'train/address-space',
  );
}

const nodeOptions = () => [...process.execArgv, ...(process.env.NODE_OPTIONS ?? '').split(/\s+/)];

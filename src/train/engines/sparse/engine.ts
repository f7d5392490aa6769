import { availableParallelism } from 'node:os';
import type { Batch } from '../../../activations/activation-source.js';
import { onnxRuntime } from '../../../onnx/session.js';
import { PARAMETERS } from '../../../sae/registry.js';
import type { Sae } from '../../../sae/sae.js';
import type { Engine, EngineSettings, StepMetrics, StepSettings, TrainerState } from '../engine.js';
import { formOf } from '../objective.js';
import { checkSizes, saeOf, stateShapes } from '../state.js';
import { checkAddressSpace } from './address-space.js';
import { LARGEST_MEMORY } from './arena.js';
import { Crew } from './crew.js';
import { allocateShared, sharedBytes } from './exchange.js';
import { compileKernels } from './kernels.js';
import { featuresOf, putPart, takePart } from './partition.js';
import { PARTS, type Profile } from './profile.js';
import { exchangedSums, padded, planSlice } from './slice-plan.js';
import type { Reply, Request, WorkerStart } from './worker.js';

/** An engine that also tells where its time went. */
export interface SparseEngine extends Engine {
  readonly workers: number;
  /** Milliseconds of each part, the mean over the workers, since the engine was opened. */
  profile(): Profile;
}

/** Features below which another worker costs more than it brings. */
const FEWEST_FEATURES = 64;

/** Workers and bytes that a run needs. */
export interface SparsePlan {
  readonly workers: number;
  readonly bytes: number;
}

/** One worker a core, or as many more as it takes for each slice to fit a WebAssembly.Memory. */
export function planWorkers(settings: EngineSettings): SparsePlan {
  const { dSae, dIn, batch, batchDType } = settings;
  const wanted = settings.threads || availableParallelism();
  const slice = (workers: number) => planSlice(settings, Math.ceil(dSae / workers)).bytes;
  let workers = Math.max(1, Math.min(wanted, Math.floor(dSae / FEWEST_FEATURES)));
  // A slice only shrinks with more workers, so the fewest are found by halves, whatever size is asked for.
  for (let most = slice(workers) > LARGEST_MEMORY ? Math.max(workers, dSae) : workers; workers < most; ) {
    const middle = workers + Math.floor((most - workers) / 2);
    if (slice(middle) > LARGEST_MEMORY) workers = middle + 1;
    else most = middle;
  }
  const sums = exchangedSums(settings).length;
  const shared = sharedBytes(workers, batch * dIn * (batchDType === 'float16' ? 2 : 4), batch, padded(dIn), sums);
  return { workers, bytes: workers * slice(workers) + Object.values(shared).reduce((a, b) => a + b, 0) };
}

/**
 * The sparse engine (README.md in the folder above): a step for little more than its encoder product, exact.
 *
 * @param start parameters, or a whole state to go on from; what is missing of the state begins at zero
 * @param steps steps already done
 */
export async function openSparseEngine(
  settings: EngineSettings,
  start: TrainerState,
  steps = 0,
): Promise<SparseEngine> {
  const { architecture, dIn, dSae, batch, batchDType } = settings;
  formOf('sparse', settings);
  const shapes = stateShapes(settings);
  checkSizes(start, settings, 'start');
  const { workers: count } = planWorkers(settings);
  checkAddressSpace(count);
  // Its settings are environment variables, which a worker's copy of the environment would not hand on.
  await onnxRuntime();
  const module = await compileKernels();
  const bytes = batch * dIn * (batchDType === 'float16' ? 2 : 4);
  const shared = allocateShared(sharedBytes(count, bytes, batch, padded(dIn), exchangedSums(settings).length));
  const sharedBatch = batchDType === 'float16' ? new Uint16Array(shared.batch) : new Float32Array(shared.batch);
  const ranges = Array.from({ length: count }, (_, index) => featuresOf(dSae, index, count));
  const starts = ranges.map((range, index): WorkerStart => {
    return { settings, index, workers: count, features: range[1] - range[0], steps, shared, module };
  });
  const crew = new Crew<WorkerStart, Request, Reply>(new URL('worker.js', import.meta.url), starts);
  let profiles: Profile[] = [];
  await crew.ready();
  await scatter(start);

  /** One array after another, so that only one of them exists twice. */
  async function scatter(state: TrainerState): Promise<void> {
    for (const name of shapes.keys()) {
      const whole = state.get(name);
      // Memory that is never written costs nothing.
      if (!whole) continue;
      const parts = ranges.map((range) => takePart(name, whole, dIn, dSae, range));
      await crew.askEach(
        parts.map((values) => ({ request: { kind: 'load', name, values }, transfer: [values.buffer] })),
      );
    }
  }

  async function gather(names: readonly string[]): Promise<Map<string, Float32Array>> {
    const replies = await crew.ask({ kind: 'state', names });
    const state = new Map<string, Float32Array>();
    for (const name of names) {
      const values = new Float32Array(shapes.get(name)!.reduce((product, dim) => product * dim, 1));
      replies.forEach((reply, index) => {
        if (reply.kind === 'state') putPart(name, reply.state.get(name)!, values, dIn, dSae, ranges[index]!);
      });
      state.set(name, values);
    }
    return state;
  }

  return {
    workers: count,
    async step({ x }: Batch, step: StepSettings): Promise<StepMetrics> {
      sharedBatch.set(x);
      steps++;
      const replies = (await crew.ask({ kind: 'step', step })).filter((reply) => reply.kind === 'step');
      profiles = replies.map((reply) => reply.profile);
      const sum = (of: (s: (typeof replies)[number]['sums']) => number) =>
        replies.reduce((total, reply) => total + of(reply.sums), 0);
      return {
        mse: sum((s) => s.squares) / batch,
        l1: (step.l1 * sum((s) => s.l1)) / batch,
        aux: sum((s) => s.auxSquares) / batch,
        l0: sum((s) => s.active) / batch,
        variance: sum((s) => s.variance) / batch,
        dead: sum((s) => s.dead),
        written: sum((s) => s.written),
      };
    },
    get steps() {
      return steps;
    },
    async sae(): Promise<Sae> {
      return saeOf(settings, await gather(PARAMETERS[architecture]));
    },
    state: () => gather([...shapes.keys()]),
    async load(state) {
      checkSizes(state, settings, 'whole');
      await scatter(state);
    },
    profile() {
      const mean = (part: (typeof PARTS)[number]) =>
        profiles.reduce((total, profile) => total + profile[part], 0) / (profiles.length || 1);
      return Object.fromEntries(PARTS.map((part) => [part, mean(part)])) as Profile;
    },
    async close() {
      // Workers that failed, or are in a step, are ended as they are.
      if (crew.idle) await crew.ask({ kind: 'release' }).catch(() => {});
      await crew.close();
    },
  };
}

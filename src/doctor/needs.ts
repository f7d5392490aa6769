import { rowBytes } from '../activations/manifest.js';
import { storeMemory } from '../activations/store-source.js';
import { harvestSchema } from '../config/stages/harvest.js';
import type { DoctorConfig } from '../config/stages/machine.js';
import { trainSchema } from '../config/stages/train.js';
import { type Context, leftOutTokens, rowsPerContext } from '../corpus/contexts.js';
import { type MemoryParts, memoryTotal } from '../disk/space.js';
import { Refusal } from '../errors/refusal.js';
import { activationMemory, harvestContexts, harvestGraph, openForwardPass } from '../harvest/forward-pass.js';
import { batchesPerWindow, harvestMemory } from '../harvest/harvest-plan.js';
import { type Checkpoint, writeModel } from '../lm/checkpoint.js';
import { type Hook, noHook } from '../lm/hooks.js';
import { choosePrecision, type WithDType } from '../lm/pass.js';
import type { Placement } from '../lm/placement.js';
import { GraphBuilder, type WeightMemory, weightMemory } from '../onnx/graph.js';
import { Generator } from '../random/generator.js';
import { architectureFlags, PARAMETERS } from '../sae/registry.js';
import { parameterShape, square } from '../sae/sae.js';
import { chooseEngine } from '../train/engines/open.js';
import { stateBytes } from '../train/engines/state.js';
import { trainingMemory } from '../train/open-run.js';
import { engineSettings } from '../train/run-settings.js';

/** Memory and disk needs of a harvest, in bytes. */
interface HarvestNeeds {
  /** Weights up to the deepest hook, as loaded in the session. */
  readonly weights: number;
  /** Approximate values of one forward pass. */
  readonly activations: number;
  /** Rows held for shuffling. */
  readonly window: number;
  /** The stores of all hooks on disk; null without --tokens. */
  readonly store: number | null;
}

/** Where and in which precision the doctor would run the model; on another device, what `auto` would choose. */
export function placementOn(device: string, checkpoint: Checkpoint, config: WithDType<DoctorConfig>): Placement {
  return choosePrecision(device === config.device ? config.precision : 'auto', device, checkpoint);
}

export function harvestNeeds(
  checkpoint: Checkpoint,
  hooks: readonly Hook[],
  context: number,
  config: WithDType<DoctorConfig>,
): HarvestNeeds {
  const { batch, dtype, tokens, device } = config;
  const atOnce = Math.min(batch, harvestContexts(checkpoint.config, hooks, context, device));
  const row = hooks.reduce((sum, { width }) => sum + rowBytes({ d_in: width, dtype }), 0);
  // A harvest with everything else at its default.
  const harvest = {
    ...harvestSchema.parse({
      ...{ model: '-', corpus: '-', out: '-', hook: hooks.map(({ name }) => name) },
      ...{ tokens: tokens ?? 1, batch },
    }),
    dtype,
  };
  const contextRows = rowsPerContext(context, beginsWithBos(checkpoint));
  const rows = batchesPerWindow(harvest, hooks, contextRows) * batch * contextRows;
  return {
    weights: harvestWeights(checkpoint, hooks, context, config, config.device),
    activations: activationMemory(checkpoint.config, hooks, atOnce, context),
    window: row * Math.min(rows, tokens ?? rows),
    store: tokens === undefined ? null : tokens * row,
  };
}

/** The upper bound that `harvest` prints, in bytes: the same function, for a harvest with the doctor's settings. */
export function harvestMemoryNeeds(
  checkpoint: Checkpoint,
  hooks: readonly Hook[],
  context: number,
  config: WithDType<DoctorConfig>,
): Promise<MemoryParts> {
  const { batch, dtype, device, precision } = config;
  const tokens = config.tokens ?? Number.MAX_SAFE_INTEGER;
  const harvest = {
    ...harvestSchema.parse({
      ...{ model: '-', corpus: '-', out: '-', hook: hooks.map(({ name }) => name) },
      ...{ tokens, batch, device, precision },
    }),
    dtype,
  };
  const prepend_bos = beginsWithBos(checkpoint);
  const windowBatches = batchesPerWindow(harvest, hooks, rowsPerContext(context, prepend_bos));
  const manifests = hooks.map(({ width }) => ({ d_in: width, dtype, prepend_bos }));
  return harvestMemory({ checkpoint, hooks, context, windowBatches, manifests, config: harvest });
}

/** Does a context begin with BOS by default? Assumed if the tokenizer decides. */
const beginsWithBos = ({ config }: Checkpoint) => config.bos !== 'never';

/** Memory of the weights up to the deepest hook on a device. */
export function harvestWeights(
  checkpoint: Checkpoint,
  hooks: readonly Hook[],
  context: number,
  config: WithDType<DoctorConfig>,
  device: string,
): number {
  const placement = placementOn(device, checkpoint, config);
  return weightMemory(harvestGraph(checkpoint, hooks, context, config.dtype, placement)).bytes;
}

/** Memory of the whole model's weights, embedding and unembedding included. */
export function modelWeights(checkpoint: Checkpoint, placement: Placement): WeightMemory {
  const g = new GraphBuilder('whole-model');
  const tokens = g.input('tokens', 'int64', ['batch', 2]);
  const lm = writeModel(g, checkpoint, 2, placement);
  const x = lm.finalNorm(lm.residual(tokens, noHook));
  g.output('logits', lm.logits(x), 'float32', ['batch', 2, 'vocabulary']);
  return weightMemory(g.encode());
}

/** Memory needs of training an SAE, in bytes. */
interface TrainingNeeds {
  readonly parameters: number;
  /** Parameters, Adam's second moments (β1 = 0: no first moments), and one counter per feature; float32. */
  readonly state: number;
  /** The upper bound that `train` prints, by purpose. */
  readonly parts: MemoryParts;
  /** The sum of the parts. */
  readonly memory: number;
}

/**
 * Training with the doctor's settings and defaults otherwise, on a store harvested with the same settings.
 *
 * @param dIn width of the hook
 */
export function trainingNeeds(
  doctor: WithDType<Pick<DoctorConfig, 'arch' | 'device' | 'threads' | 'tokens'>>,
  dIn: number,
  dSae: number,
): TrainingNeeds {
  const { arch, device, threads, dtype, tokens = Number.MAX_SAFE_INTEGER } = doctor;
  const own = Object.entries(doctor).filter(([key]) => key in architectureFlags || key === 'l0');
  const config = trainSchema.parse({
    ...{ activations: '-', out: '-', dSae, arch, device, threads },
    ...Object.fromEntries(own),
  });
  const settings = engineSettings(config, { dIn, dtype });
  const shapes = PARAMETERS[settings.architecture].map((name) => parameterShape(name, square(dIn, dSae)));
  const parameters = shapes.reduce((sum, shape) => sum + shape.reduce((product, dim) => product * dim, 1), 0);
  const pieceRows = Math.min(tokens, harvestSchema.shape.rowsPerShard.parse(undefined));
  const source = {
    // A harvested store records its mean norm.
    about: { meanNorm: 1, rows: tokens },
    memory: () => storeMemory(rowBytes({ d_in: dIn, dtype }), tokens, pieceRows, config.poolRows),
  };
  const parts = trainingMemory(config, settings, chooseEngine(config, settings), source);
  return { parameters, state: stateBytes(settings), parts, memory: memoryTotal(parts) };
}

/** Measured speed of the model on this machine. */
export interface Timing {
  /** Activations per second of the forward pass alone. */
  readonly tokensPerSecond: number;
  /** Contexts per timed pass. */
  readonly batch: number;
  /** Seconds until the session was open. */
  readonly opening: number;
}

/** Approximate time budget of all timed passes, in seconds. */
const BUDGET = 6;
const TIMED_PASSES = 3;

/**
 * Times a few of harvest's forward passes on random tokens. The first, of one context, warms up and determines how many
 * contexts per pass fit the budget; the result is the median of the rest.
 *
 * @throws Refusal when the model cannot run on the device
 */
async function timeForwardPass(
  checkpoint: Checkpoint,
  hooks: readonly Hook[],
  context: number,
  config: WithDType<DoctorConfig>,
): Promise<Timing> {
  const begun = performance.now();
  const pass = await openForwardPass(checkpoint, hooks, context, config);
  const opening = seconds(begun);
  try {
    const { bosTokenId, vocabulary } = checkpoint.config;
    const bos = beginsWithBos(checkpoint) && bosTokenId >= 0 ? bosTokenId : null;
    const random = new Generator(0);
    const contexts = (count: number) =>
      Array.from({ length: count }, (_, index) => randomContext(random, context, vocabulary, bos, index));
    const time = async (count: number) => {
      const group = contexts(count);
      const start = performance.now();
      const result = await pass.run(group, leftOutTokens(bos), Number.POSITIVE_INFINITY);
      return { rows: result.count, seconds: seconds(start) };
    };
    await time(1);
    const one = await time(1);
    const batch = Math.max(1, Math.min(config.batch, pass.contexts, Math.floor(BUDGET / TIMED_PASSES / one.seconds)));
    const rates: number[] = [];
    for (let i = 0; i < TIMED_PASSES; i++) {
      const timed = await time(batch);
      rates.push(timed.rows / timed.seconds);
    }
    rates.sort((a, b) => a - b);
    return { tokensPerSecond: rates[Math.floor(TIMED_PASSES / 2)]!, batch, opening };
  } finally {
    await pass.release();
  }
}

const seconds = (since: number) => (performance.now() - since) / 1000;

/** BOS if contexts begin with it, then arbitrary tokens. */
function randomContext(
  random: Generator,
  length: number,
  vocabulary: number,
  bos: number | null,
  index: number,
): Context {
  const tokens = Int32Array.from({ length }, (_, t) => {
    if (bos === null) return random.below(vocabulary);
    if (t === 0) return bos;
    const token = random.below(vocabulary - 1);
    return token < bos ? token : token + 1;
  });
  return { index, tokens, documents: new Uint32Array(length) };
}

/** The timing, or why there is none: random tokens may overflow float16 even if text does not. */
export async function tryTiming(...args: Parameters<typeof timeForwardPass>): Promise<Timing | { reason: string }> {
  try {
    return await timeForwardPass(...args);
  } catch (error) {
    if (error instanceof Refusal) return { reason: error.message };
    throw error;
  }
}

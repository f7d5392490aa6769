import { rowBytes } from '../activations/manifest.js';
import { type DoctorConfig, harvestSchema } from '../config/stages.js';
import { harvestGraph } from '../harvest/harvest-graph.js';
import { activationMemory } from '../harvest/memory-bound.js';
import { harvestContexts } from '../harvest/pass-length.js';
import { batchesPerWindow } from '../harvest/store-plan.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import { GemmaGraph } from '../lm/gemma-graph.js';
import type { Hook } from '../lm/hooks.js';
import { choosePrecision, type Placement } from '../lm/precision.js';
import { GraphBuilder } from '../onnx/graph.js';
import { type WeightMemory, weightMemory } from '../onnx/weight-memory.js';
import { PARAMETERS, parameterShape } from '../sae/sae.js';
import type { EngineSettings } from '../train/engines/engine.js';
import { chooseEngine, memoryNeeded } from '../train/engines/open.js';
import { stateBytes } from '../train/engines/state.js';

/** What a harvest takes, bytes. */
export interface HarvestNeeds {
  /** Weights up to the deepest hook, as the open session holds them. */
  readonly weights: number;
  /** Values of one forward pass, about. */
  readonly activations: number;
  /** Rows held to be permuted. */
  readonly window: number;
  /** The stores of all hooks on disk; null without --tokens. */
  readonly store: number | null;
}

/** Where the doctor is told to run the model, or what `auto` would be on another device. */
export function placementOn(device: string, checkpoint: Checkpoint, config: DoctorConfig): Placement {
  return choosePrecision(device === config.device ? config.precision : 'auto', device, checkpoint);
}

export function harvestNeeds(
  checkpoint: Checkpoint,
  hooks: readonly Hook[],
  context: number,
  config: DoctorConfig,
): HarvestNeeds {
  const { batch, dtype, tokens, device } = config;
  const atOnce = Math.min(batch, harvestContexts(checkpoint.config, hooks, context, device));
  const row = hooks.reduce((sum, { width }) => sum + rowBytes({ d_in: width, dtype }), 0);
  // A harvest with everything else at its default.
  const harvest = harvestSchema.parse({
    ...{ model: '-', corpus: '-', out: '-', hook: hooks.map(({ name }) => name) },
    ...{ tokens: tokens ?? 1, batch, dtype },
  });
  const rows = batchesPerWindow(harvest, hooks, context) * batch * (context - 1);
  return {
    weights: harvestWeights(checkpoint, hooks, context, config, config.device),
    activations: activationMemory(checkpoint.config, hooks, atOnce, context),
    window: row * Math.min(rows, tokens ?? rows),
    store: tokens === undefined ? null : tokens * row,
  };
}

/** Memory of the weights up to the deepest hook on a device. */
export function harvestWeights(
  checkpoint: Checkpoint,
  hooks: readonly Hook[],
  context: number,
  config: DoctorConfig,
  device: string,
): number {
  const placement = placementOn(device, checkpoint, config);
  return weightMemory(harvestGraph(checkpoint, hooks, context, config.dtype, placement)).bytes;
}

/** Memory of the whole model's weights, embedding and unembedding included. */
export function modelWeights(checkpoint: Checkpoint, placement: Placement): WeightMemory {
  const g = new GraphBuilder('whole-model');
  const tokens = g.input('tokens', 'int64', ['batch', 2]);
  const lm = new GemmaGraph(g, checkpoint, 2, placement);
  const x = lm.finalNorm(lm.residual(tokens, (_, value) => value));
  g.output('logits', lm.logits(x), 'float32', ['batch', 2, 'vocabulary']);
  return weightMemory(g.encode());
}

/** What training an SAE takes, bytes. */
export interface TrainingNeeds {
  readonly parameters: number;
  /** Parameters, Adam's second moment of each (β1 = 0: no first), and a counter a feature; float32. */
  readonly state: number;
  /** What `train` itself asks for. */
  readonly memory: number;
}

/** @param dIn width of the hook */
export function trainingNeeds(
  { arch, batch, device, threads }: Pick<DoctorConfig, 'arch' | 'device' | 'threads'> & { batch: number },
  dIn: number,
  dSae: number,
): TrainingNeeds {
  const settings: EngineSettings = {
    ...{ architecture: arch, dIn, dSae, batch, batchDType: 'float16', scale: 1, beta1: 0, beta2: 0.999, deadWindow: 1 },
    threads,
  };
  const shapes = PARAMETERS[arch].map((name) => parameterShape(name, dIn, dSae));
  const parameters = shapes.reduce((sum, shape) => sum + shape.reduce((product, dim) => product * dim, 1), 0);
  const memory = memoryNeeded(chooseEngine({ engine: 'auto', device }), settings);
  return { parameters, state: stateBytes(settings), memory };
}

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Manifest, rowBytes } from '../activations/manifest.js';
import { ORDER_BYTES } from '../activations/pool.js';
import type { HarvestConfig } from '../config/stages.js';
import { LOOK_AHEAD } from '../corpus/enough-text.js';
import type { GemmaConfig } from '../lm/gemma-config.js';
import type { Hook } from '../lm/hooks.js';
import { choosePrecision } from '../lm/precision.js';
import { weightMemory } from '../onnx/weight-memory.js';
import { type MemoryParts, PROGRAM, THREAD } from '../progress/memory-line.js';
import { harvestGraph } from './harvest-graph.js';
import { harvestContexts } from './pass-length.js';
import type { Plan } from './plan.js';

/** Shards on their way to disk: rows, their encoding and its copy, and one that is yet to be collected. */
const SHARDS = 4;
/** Of the estimate of a pass's values, which a test holds to a factor of two. */
const PASSES = 2;
/** Weights while a session opens: some are there as they are stored and as they were cast. */
const OPENING = 1.5;
/** What a tokenizer takes in memory while it is opened, beside the size of tokenizer.json. */
const TOKENIZER = 20;

/**
 * The most that is alive at once in a forward pass, about, in float32 (half precision takes less): the residual stream
 * and its norm, beside either attention (q, k, v and the scores) or the MLP (gate, up and their product); and every
 * hook's rows, gathered and as they leave. `test/doctor/needs.test.ts` holds it to what a pass takes.
 */
export function activationMemory(c: GemmaConfig, hooks: readonly Hook[], batch: number, context: number): number {
  const positions = batch * context;
  const attention = positions * (c.heads + 2 * c.kvHeads) * c.headDim + positions * c.heads * context;
  const mlp = positions * 3 * c.mlp;
  const rows = positions * hooks.reduce((sum, { width }) => sum + width, 0);
  return 4 * (2 * positions * c.hidden + Math.max(attention, mlp)) + 8 * rows;
}

/** What of a plan decides its memory. */
export type HarvestShape = Pick<Plan, 'checkpoint' | 'hooks' | 'context' | 'windowBatches'> & {
  /** Rows of each hook. */
  readonly manifests: readonly Pick<Manifest, 'd_in' | 'dtype'>[];
};

/** What a harvest holds at most, bytes; of a model on another device, less. */
export async function harvestMemory(
  { checkpoint, hooks, context, windowBatches, manifests }: HarvestShape,
  config: Pick<HarvestConfig, 'tokens' | 'batch' | 'dtype' | 'device' | 'precision' | 'rowsPerShard'>,
): Promise<MemoryParts> {
  const { batch, dtype, tokens, rowsPerShard, device } = config;
  const atOnce = Math.min(batch, harvestContexts(checkpoint.config, hooks, context, device));
  const placement = choosePrecision(config.precision, config.device, checkpoint);
  const { bytes: weights } = weightMemory(harvestGraph(checkpoint, hooks, context, dtype, placement));
  const row = manifests.reduce((sum, manifest) => sum + rowBytes(manifest), 0);
  const rows = Math.min(tokens, windowBatches * batch * (context - 1));
  // Of each context its tokens and their documents, four bytes each; a context may have fewer rows than it has room for.
  const contexts = windowBatches * batch * context * 8;
  const widest = Math.max(...manifests.map((manifest) => rowBytes(manifest)));
  const { size } = await stat(join(checkpoint.directory, 'tokenizer.json'));
  return {
    model: OPENING * weights,
    text: THREAD + TOKENIZER * size + 4 * Math.min(2 * tokens, LOOK_AHEAD),
    pass: PASSES * activationMemory(checkpoint.config, hooks, atOnce, context),
    window: rows * (row + ORDER_BYTES) + Math.min(contexts, 16 * tokens),
    shards: SHARDS * Math.min(rows, rowsPerShard) * widest,
    program: PROGRAM,
  };
}

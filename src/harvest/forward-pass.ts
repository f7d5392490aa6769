import type { Tensor } from 'onnxruntime-node';
import type { ActivationDType } from '../activations/manifest.js';
import { type ActivationArray, allocateRows, type Rows } from '../activations/rows.js';
import type { HarvestConfig } from '../config/stages/harvest.js';
import { batchTokens, type Context, hasRow, type LeftOut } from '../corpus/contexts.js';
import { Refusal } from '../errors/refusal.js';
import { type Checkpoint, writeModel } from '../lm/checkpoint.js';
import type { ModelConfig } from '../lm/family.js';
import { type Hook, hookAt } from '../lm/hooks.js';
import {
  blockParameters,
  choosePrecision,
  contextsAtOnce,
  firstHookNotFinite,
  notFiniteRemedy,
  type WithDType,
} from '../lm/pass.js';
import type { Placement } from '../lm/placement.js';
import { GraphBuilder, OPSET_OF_BITS } from '../onnx/graph.js';
import { type Device, onnxRuntime, openSession, type SessionOptions } from '../onnx/session.js';
import { toBfloat16 } from '../safetensors/floats.js';

/** Largest finite float16. */
const FLOAT16_MAX = 65504;

export interface PassResult {
  /** Rows of each hook, in the order of the hooks. */
  readonly rows: readonly Rows[];
  /** |x| of each row, by hook. */
  readonly norms: readonly Float32Array[];
  readonly count: number;
  /** The contexts with rows. */
  readonly contexts: readonly Context[];
}

/** A model that is open for harvesting. */
export interface ForwardPass {
  /** Runs contexts, at most `contexts` of them per call, and returns at most `limit` rows. */
  run(group: readonly Context[], leftOut: LeftOut, limit: number): Promise<PassResult>;
  readonly contexts: number;
  /** Does it run in another thread, so that passes can be requested ahead? */
  readonly ahead?: boolean;
  /** Takes back memory of a hook's rows that is no longer needed, for later passes. */
  reuse?(hook: number, memory: readonly ArrayBufferLike[]): void;
  release(): Promise<void>;
}

/** The settings of a harvest that a pass depends on. */
export type PassConfig = WithDType<Pick<HarvestConfig, 'device' | 'precision' | 'threads'>>;

/** Opens the model for harvesting on this thread: while a pass runs, nothing else happens here. */
export async function openForwardPass(
  checkpoint: Checkpoint,
  hooks: readonly Hook[],
  context: number,
  config: PassConfig,
): Promise<ForwardPass> {
  const placement = choosePrecision(config.precision, config.device, checkpoint);
  const graph = harvestGraph(checkpoint, hooks, context, config.dtype, placement);
  const session = await openSession(graph, config);
  const { Tensor } = await onnxRuntime();

  const run: ForwardPass['run'] = async (group, leftOut, limit) => {
    const { keep, token, contextOf, pos, contexts } = selectRows(group, context, leftOut, limit);
    const count = keep.length;
    // Every position is left out: there is nothing to compute.
    if (count === 0) return noRows(hooks, contexts, config.dtype);
    const feeds = {
      tokens: new Tensor('int64', batchTokens(contexts, checkpoint.config.vocabulary), [contexts.length, context]),
      rows: new Tensor('int64', BigInt64Array.from(keep, BigInt), [count]),
    };
    // Without memory for the outputs: the binding would write to it, and copy all of it to new memory nevertheless.
    const outputs = await session.run(feeds);
    // Before anything is concluded from the outputs.
    await checkpoint.checkUnchanged();
    const rows: Rows[] = [];
    const norms: Float32Array[] = [];
    for (const hook of hooks) {
      const name = outputsOf(hook);
      const norm = outputs[name.norm]!.data as Float32Array;
      const wild = norm.findIndex((value) => !Number.isFinite(value));
      if (wild >= 0) {
        const where = placeOf({ context: contextOf, pos }, wild);
        throw await notFinite(hook, where, contexts, checkpoint, placement, config);
      }
      const found = {
        activation: stored(bitsOf(outputs[name.activation]!.data), config.dtype),
        token,
        context: contextOf,
        pos,
      };
      const largest = (outputs[name.largest]?.data as Float32Array | undefined)?.[0];
      if (largest !== undefined && largest > FLOAT16_MAX) throw overflows(hook, largest, found);
      rows.push(found);
      norms.push(norm);
    }
    return { rows, norms, count, contexts };
  };

  const contexts = harvestContexts(checkpoint.config, hooks, context, config.device);
  return { run, contexts, release: () => session.release() };
}

/** The result of a pass over contexts in which every position is left out. */
function noRows(hooks: readonly Hook[], contexts: readonly Context[], dtype: ActivationDType): PassResult {
  const rows = hooks.map(({ width }) => allocateRows(0, width, dtype));
  return { rows, norms: hooks.map(() => new Float32Array(0)), count: 0, contexts };
}

/** Positions that are not left out, in order, at most `limit` of them. */
function selectRows(group: readonly Context[], length: number, leftOut: LeftOut, limit: number) {
  const keep: number[] = [];
  const token: number[] = [];
  const contextOf: number[] = [];
  const pos: number[] = [];
  const contexts: Context[] = [];
  for (const [b, context] of group.entries()) {
    if (keep.length === limit) break;
    contexts.push(context);
    for (let t = 0; t < length && keep.length < limit; t++) {
      if (!hasRow(context, t, leftOut)) continue;
      keep.push(b * length + t);
      token.push(context.tokens[t]!);
      contextOf.push(context.index);
      pos.push(t);
    }
  }
  return {
    keep,
    token: Int32Array.from(token),
    contextOf: Uint32Array.from(contextOf),
    pos: Uint32Array.from(pos),
    contexts,
  };
}

/** Element type of the graph's rows: the store's, if the device supports it; `uint16` is bfloat16 bits. */
type OutputType = 'float32' | 'float16' | 'uint16';

function outputType({ dtype, device }: Pick<PassConfig, 'dtype' | 'device'>): OutputType {
  if (dtype !== 'bfloat16') return dtype;
  // WebGPU has no kernels for bfloat16: its rows are rounded here.
  return device === 'webgpu' ? 'float32' : 'uint16';
}

/** Entries of an output; Node 24 and later have a Float16Array, whose bits are wanted. */
function bitsOf(data: Tensor['data']): ActivationArray {
  if (data instanceof Float32Array || data instanceof Uint16Array) return data;
  const { buffer, byteOffset, length } = data as unknown as Uint16Array;
  return new Uint16Array(buffer, byteOffset, length);
}

function stored(rows: ActivationArray, dtype: ActivationDType): ActivationArray {
  return dtype === 'bfloat16' && rows instanceof Float32Array ? toBfloat16(rows) : rows;
}

/** The refusal of a pass with a row at `hook` whose norm is not finite; `where` is that row's position. */
async function notFinite(
  hook: Hook,
  where: string,
  contexts: readonly Context[],
  checkpoint: Checkpoint,
  placement: Placement,
  config: SessionOptions,
): Promise<Refusal> {
  const length = contexts[0]!.tokens.length;
  const batch = { ids: batchTokens(contexts, checkpoint.config.vocabulary), length };
  const origin = await firstHookNotFinite(checkpoint, batch, placement, config, hook);
  // All entries may be finite with squares that overflow: bfloat16 weights can be that large.
  const what =
    origin === undefined
      ? `The model gives values beyond 10¹⁹ at ${hook.name} (layer ${hook.layer})`
      : `The model gives values that are not finite at ${hook.name} (layer ${hook.layer})`;
  const since = origin === undefined || origin.name === hook.name ? '' : `, and first at ${origin.name}`;
  return new Refusal(`${what}, ${where}${since}.`, notFiniteRemedy(placement), 'harvest/not-finite');
}

/** The refusal of rows that overflow float16: their bits are infinite, or were rounded to its largest number. */
function overflows(hook: Hook, largest: number, rows: Rows): Refusal {
  const entry = rows.activation.findIndex((bits) => (bits & 0x7fff) >= 0x7bff);
  const at = Math.floor(entry / (rows.activation.length / rows.token.length));
  return new Refusal(
    `An activation of ${hook.name} (layer ${hook.layer}) is ${largest.toPrecision(4)} and overflows float16 (largest ${FLOAT16_MAX}), ${placeOf(rows, at)}.`,
    'Use --dtype bfloat16 or --dtype float32.',
    'harvest/float16-overflow',
  );
}

const placeOf = ({ context, pos }: Pick<Rows, 'context' | 'pos'>, row: number) =>
  `in context ${context[row]} at position ${pos[row]}`;

/** Output names of a hook in the harvest graph. */
const outputsOf = (hook: Hook) => ({
  /** [rows, width], of outputType. */
  activation: hook.name,
  /** float32 [rows]: |x|. */
  norm: `${hook.name}/norm`,
  /** float32 []: largest |entry|, for a float16 store. */
  largest: `${hook.name}/largest`,
});

/**
 * The graph of a harvest: tokens in, rows of activations out, cut after the deepest hook.
 *
 * Inputs: `tokens` int64 [batch, context]; `rows` int64 [rows], flat positions (batch · context + pos) to keep.
 */
export function harvestGraph(
  checkpoint: Checkpoint,
  hooks: readonly Hook[],
  context: number,
  dtype: ActivationDType,
  placement: Placement,
): Uint8Array {
  const outType = outputType({ dtype, device: placement.device });
  const g = new GraphBuilder('harvest', undefined, outType === 'uint16' ? OPSET_OF_BITS : undefined);
  const tokens = g.input('tokens', 'int64', ['batch', context]);
  const rows = g.input('rows', 'int64', ['rows']);
  const wanted = new Map(hooks.map((hook) => [hook.name, hook]));
  const record = hookAt(wanted.keys(), (name, value) => {
    const hook = wanted.get(name)!;
    const output = outputsOf(hook);
    const x = g.gather(g.reshape(value, -1, hook.width), rows);
    const left = outType === 'float32' ? x : outType === 'float16' ? g.cast(x, 'float16') : g.bfloat16Bits(x);
    g.output(output.activation, left, outType, ['rows', hook.width]);
    g.output(output.norm, g.op('Sqrt', [g.reduceSumSquare(x, [1])]), 'float32', ['rows']);
    // On CUDA this operator requires cuDNN, which nothing else here does.
    if (dtype === 'float16') g.output(output.largest, g.reduceMax(g.op('Abs', [x]), [0, 1]), 'float32', []);
    return value;
  });
  writeModel(g, checkpoint, context, placement).residual(tokens, record);
  return g.encode();
}

/** Max entries of a value: ONNX Runtime's CUDA kernels of activation functions count in 32 bits. */
const MOST_ENTRIES = 2 ** 31 - 1;

/** Max contexts of one forward pass to the deepest of the hooks. */
export function harvestContexts(
  config: ModelConfig,
  hooks: readonly Hook[],
  context: number,
  device: Device | undefined,
): number {
  const blocks = Math.max(1, ...hooks.map(({ layer }) => layer + 1));
  const fits = Math.max(1, Math.floor(MOST_ENTRIES / (context * config.costs.widest)));
  return Math.min(fits, contextsAtOnce(blockParameters(config, 0, blocks), context, device));
}

/**
 * Approximate peak memory of a forward pass in float32 (half precision takes less), plus every hook's rows, gathered
 * and as output. `test/doctor/needs.test.ts` compares it with the memory that a pass takes.
 */
export function activationMemory(
  { costs }: Pick<ModelConfig, 'costs'>,
  hooks: readonly Hook[],
  batch: number,
  context: number,
): number {
  const positions = batch * context;
  const rows = positions * hooks.reduce((sum, { width }) => sum + width, 0);
  return 4 * positions * costs.alive(context) + 8 * rows;
}

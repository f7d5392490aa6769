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
import { GraphBuilder } from '../onnx/graph.js';
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
  /** The contexts that gave rows. */
  readonly contexts: readonly Context[];
}

export type ForwardPass = Awaited<ReturnType<typeof openForwardPass>>;

/**
 * Opens the model for harvesting; `run` takes contexts and gives at most `limit` rows. It should be given no more than
 * `contexts` of them at a time, because nothing else happens meanwhile.
 */
export async function openForwardPass(
  checkpoint: Checkpoint,
  hooks: readonly Hook[],
  context: number,
  config: WithDType<Pick<HarvestConfig, 'device' | 'precision' | 'threads'>>,
) {
  const placement = choosePrecision(config.precision, config.device, checkpoint);
  const graph = harvestGraph(checkpoint, hooks, context, config.dtype, placement);
  const session = await openSession(graph, config);
  const { Tensor } = await onnxRuntime();

  async function run(group: readonly Context[], leftOut: LeftOut, limit: number): Promise<PassResult> {
    const { keep, token, contextOf, pos, contexts } = selectRows(group, context, leftOut, limit);
    const count = keep.length;
    // Others' turns alone: there is nothing to compute.
    if (count === 0) return noRows(hooks, contexts, config.dtype);
    const outputs = await session.run({
      tokens: new Tensor('int64', batchTokens(contexts, checkpoint.config.vocabulary), [contexts.length, context]),
      rows: new Tensor('int64', BigInt64Array.from(keep, BigInt), [count]),
    });
    // Before anything is said of what came out.
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
      const data = outputs[name.activation]!.data as unknown as ArrayBufferView;
      const found = { activation: storedArray(data, config.dtype), token, context: contextOf, pos };
      const largest = (outputs[name.largest]?.data as Float32Array | undefined)?.[0];
      if (largest !== undefined && largest > FLOAT16_MAX) throw overflows(hook, largest, found);
      rows.push(found);
      norms.push(norm);
    }
    return { rows, norms, count, contexts };
  }

  const contexts = harvestContexts(checkpoint.config, hooks, context, config.device);
  return { run, contexts, release: () => session.release() };
}

/** What a pass gives for contexts in which every position is left out. */
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

function storedArray(data: ArrayBufferView, dtype: ActivationDType): ActivationArray {
  if (dtype === 'float32') return data as Float32Array;
  if (dtype === 'bfloat16') return toBfloat16(data as Float32Array);
  // Newer Nodes give a Float16Array; the store keeps bits.
  return data instanceof Uint16Array ? data : new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
}

/** The refusal of a pass that gave a row at `hook` whose norm is not finite; `where` is that row's place. */
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
  // All may be numbers whose squares are none: bfloat16 weights can be as large.
  const what =
    origin === undefined
      ? `The model gives values beyond 10¹⁹ at ${hook.name} (layer ${hook.layer})`
      : `The model gives values that are not finite at ${hook.name} (layer ${hook.layer})`;
  const since = origin === undefined || origin.name === hook.name ? '' : `, and first at ${origin.name}`;
  return new Refusal(`${what}, ${where}${since}.`, notFiniteRemedy(placement), 'harvest/not-finite');
}

/** The refusal of rows that overflow float16: in its bits they are infinite, or were rounded to its largest number. */
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
  /** [rows, width], in the store's element type (float32 for bfloat16). */
  activation: hook.name,
  /** float32 [rows]: |x|. */
  norm: `${hook.name}/norm`,
  /** float32 []: largest |entry|, of a float16 store. */
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
  const g = new GraphBuilder('harvest');
  const tokens = g.input('tokens', 'int64', ['batch', context]);
  const rows = g.input('rows', 'int64', ['rows']);
  const wanted = new Map(hooks.map((hook) => [hook.name, hook]));
  // The JavaScript binding knows no bfloat16; those rows leave as float32 and are rounded outside.
  const outType = dtype === 'float16' ? 'float16' : 'float32';
  const record = hookAt(wanted.keys(), (name, value) => {
    const hook = wanted.get(name)!;
    const output = outputsOf(hook);
    const x = g.gather(g.reshape(value, -1, hook.width), rows);
    g.output(output.activation, outType === 'float16' ? g.cast(x, 'float16') : x, outType, ['rows', hook.width]);
    g.output(output.norm, g.op('Sqrt', [g.reduceSumSquare(x, [1])]), 'float32', ['rows']);
    // On CUDA this operator takes cuDNN, which nothing else here does.
    if (dtype === 'float16') g.output(output.largest, g.reduceMax(g.op('Abs', [x]), [0, 1]), 'float32', []);
    return value;
  });
  writeModel(g, checkpoint, context, placement).residual(tokens, record);
  return g.encode();
}

/** Entries of a value, at most: ONNX Runtime's CUDA kernels of activation functions count in 32 bits. */
const MOST_ENTRIES = 2 ** 31 - 1;

/** Contexts of one forward pass to the deepest of the hooks, at most. */
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

import { UsageRefusal } from '../errors/refusal.js';
import { GraphBuilder } from '../onnx/graph.js';
import { type Device, onnxRuntime, openSession, type SessionOptions } from '../onnx/session.js';
import { weightDType } from '../onnx/weight.js';
import { type Checkpoint, writeModel } from './checkpoint.js';
import type { BosPolicy, ModelConfig } from './family.js';
import type { Hook } from './hooks.js';
import type { Placement, Precision } from './placement.js';

/**
 * The precision that was asked for; `auto` is the checkpoint's own on CUDA, whose kernels have them all, and float32
 * elsewhere.
 *
 * @throws UsageRefusal where the device has no kernels for it
 */
export function choosePrecision(wanted: Precision | 'auto', device: Device, checkpoint: Checkpoint): Placement {
  const cuda = device.startsWith('cuda');
  if (wanted === 'auto') return { device, precision: cuda ? ownPrecision(checkpoint) : 'float32' };
  if (wanted === 'bfloat16' && !cuda) {
    throw new UsageRefusal(
      `ONNX Runtime does not multiply bfloat16 matrices on the device ${device}.`,
      'Use --precision float32, or --device cuda.',
      'lm/bfloat16',
    );
  }
  return { device, precision: wanted };
}

/** Element type of activations that are kept: `auto` is the checkpoint's own, which its activations do not overflow. */
export function chooseDType(wanted: Precision | 'auto', checkpoint: Checkpoint): Precision {
  return wanted === 'auto' ? ownPrecision(checkpoint) : wanted;
}

/** Settings whose element type of activations has been chosen. */
export type WithDType<Settings> = Omit<Settings, 'dtype'> & { readonly dtype: Precision };

/** The element type of most weights. */
function ownPrecision({ tensors, config }: Checkpoint): Precision {
  return weightDType(tensors.get(config.names.typical)!) as Precision;
}

/**
 * Multiplications and additions of a pass on a CPU, at most: five seconds at 2·10¹¹ a second, as two cores do, one at
 * 10¹². While ONNX Runtime is in a pass the program hears no signal, so passes are kept short.
 */
const OPERATIONS = 1e12;

/** Parameters of the matrices of blocks [first, end). */
export function blockParameters({ costs }: Pick<ModelConfig, 'costs'>, first = 0, end?: number): number {
  return costs.blocks.slice(first, end).reduce((sum, parameters) => sum + parameters, 0);
}

/**
 * Contexts that go through a model at a time; at least one, however long that takes.
 *
 * @param parameters multiplied with each token: of every matrix as often as it is used
 * @param context tokens per context
 */
export function contextsAtOnce(parameters: number, context: number, device: Device = 'cpu'): number {
  if (device !== 'cpu') return Number.POSITIVE_INFINITY;
  return Math.max(1, Math.floor(OPERATIONS / (2 * parameters * context)));
}

/** Whether contexts begin with BOS: as the command says, or else as the family does. */
export function chooseBos(wanted: boolean | undefined, { bos }: Pick<ModelConfig, 'bos'>): BosPolicy {
  if (wanted === undefined) return bos;
  return wanted ? 'always' : 'never';
}

/** Longest context by default: that of the paper's Gemma 7B runs (appendix D). */
const DEFAULT_CONTEXT = 1024;

/**
 * Tokens a context: the wanted number, or the default as far as the model goes.
 *
 * @throws UsageRefusal when it is longer than the model's positions
 */
export function chooseContext(wanted: number | undefined, config: ModelConfig): number {
  const longest = config.maxContext;
  if (wanted !== undefined && wanted > longest) {
    throw new UsageRefusal(
      `--context ${wanted} is longer than the model's ${longest} tokens.`,
      `Use at most ${longest}.`,
      'lm/context-too-long',
    );
  }
  return wanted ?? Math.min(DEFAULT_CONTEXT, longest);
}

/**
 * The first hook point, in the order in which a model computes, where values of these contexts are NaN or infinite;
 * undefined where all are finite. It opens the model once more with an output a hook, so it is for when something has
 * gone wrong.
 *
 * @param ids tokens of contexts of one length, [contexts × length], as the model takes them
 * @param last looks no further than this hook
 */
export async function firstHookNotFinite(
  checkpoint: Checkpoint,
  { ids, length }: { readonly ids: BigInt64Array; readonly length: number },
  placement: Placement,
  options: SessionOptions,
  last?: Hook,
): Promise<Hook | undefined> {
  const all = checkpoint.config.hooks;
  const end = last === undefined ? all.length : all.findIndex(({ name }) => name === last.name) + 1;
  const hooks = all.slice(0, end);
  const g = new GraphBuilder('first-not-finite');
  const tokens = g.input('tokens', 'int64', ['batch', length]);
  writeModel(g, checkpoint, length, placement).residual(tokens, (name, value) => {
    // 0 · x is 0 for numbers, and NaN for everything else.
    const zero = g.reduceSum(g.mul(value, g.scalar(0)), [0, 1, 2]);
    if (hooks.some((hook) => hook.name === name)) g.output(name, zero, 'float32', []);
    return value;
  });
  const session = await openSession(g.encode(), options);
  try {
    const { Tensor } = await onnxRuntime();
    const outputs = await session.run({ tokens: new Tensor('int64', ids, [ids.length / length, length]) });
    return hooks.find(({ name }) => Number.isNaN((outputs[name]!.data as Float32Array)[0]));
  } finally {
    await session.release();
  }
}

/** What to do about a model whose values are not finite. */
export function notFiniteRemedy({ precision, device }: Placement): string {
  if (precision === 'float16') return 'float16 ends at 65504: use --precision float32, or bfloat16 on CUDA.';
  const elsewhere = device === 'cpu' ? '' : ', or the device miscalculates; try --device cpu';
  return `The weights are damaged${elsewhere}.`;
}

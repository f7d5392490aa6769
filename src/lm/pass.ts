import { UsageRefusal } from '../errors/refusal.js';
import { GraphBuilder } from '../onnx/graph.js';
import { type Device, onnxRuntime, openSession, type SessionOptions } from '../onnx/session.js';
import { weightDType } from '../onnx/weight.js';
import { type Checkpoint, writeModel } from './checkpoint.js';
import type { BosPolicy, ModelConfig } from './family.js';
import type { Hook } from './hooks.js';
import type { Placement, Precision } from './placement.js';

/**
 * The requested precision; `auto` is the checkpoint's own on CUDA, which has kernels for all of them, and float32
 * elsewhere.
 *
 * @throws UsageRefusal if the device has no kernels for it
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

/** Element type of stored activations: `auto` is the checkpoint's own, which its activations do not overflow. */
export function chooseDType(wanted: Precision | 'auto', checkpoint: Checkpoint): Precision {
  return wanted === 'auto' ? ownPrecision(checkpoint) : wanted;
}

/** Settings with the element type of activations resolved. */
export type WithDType<Settings> = Omit<Settings, 'dtype'> & { readonly dtype: Precision };

/** The element type of most weights. */
function ownPrecision({ tensors, config }: Checkpoint): Precision {
  return weightDType(tensors.get(config.names.typical)!) as Precision;
}

/**
 * Max multiply-adds of a pass on a CPU: five seconds at 2·10¹¹ per second, typical of two cores; one second at 10¹².
 * The process receives no signals during ONNX Runtime calls, so passes are kept short.
 */
const OPERATIONS = 1e12;

/** Parameters of the matrices of blocks [first, end). */
export function blockParameters({ costs }: Pick<ModelConfig, 'costs'>, first = 0, end?: number): number {
  return costs.blocks.slice(first, end).reduce((sum, parameters) => sum + parameters, 0);
}

/**
 * Contexts per forward pass; at least one, however long that takes.
 *
 * @param parameters multiplied with each token, counting every matrix as often as it is used
 * @param context tokens per context
 */
export function contextsAtOnce(parameters: number, context: number, device: Device = 'cpu'): number {
  if (device !== 'cpu') return Number.POSITIVE_INFINITY;
  return Math.max(1, Math.floor(OPERATIONS / (2 * parameters * context)));
}

/** Whether contexts begin with BOS: as the command says, otherwise the family's default. */
export function chooseBos(wanted: boolean | undefined, { bos }: Pick<ModelConfig, 'bos'>): BosPolicy {
  if (wanted === undefined) return bos;
  return wanted ? 'always' : 'never';
}

/** Default context length: that of the paper's Gemma 7B runs (appendix D). */
const DEFAULT_CONTEXT = 1024;

/**
 * Tokens per context: the requested number, or the default limited by the model.
 *
 * @throws UsageRefusal if it is longer than the model's positions
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
 * The first hook point, in order of computation, at which values of these contexts are NaN or infinite; undefined if
 * all are finite. Opens the model once more with one output per hook, so it is only for diagnosing errors.
 *
 * @param ids tokens of contexts of one length, [contexts × length], as model input
 * @param last last hook to examine
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
    // 0 · x is 0 for finite numbers, otherwise NaN.
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

/** The remedy if a model's values are not finite. */
export function notFiniteRemedy({ precision, device }: Placement): string {
  if (precision === 'float16') return 'float16 ends at 65504: use --precision float32, or bfloat16 on CUDA.';
  const elsewhere = device === 'cpu' ? '' : ', or the device computes wrong values; try --device cpu';
  return `The weights are damaged${elsewhere}.`;
}

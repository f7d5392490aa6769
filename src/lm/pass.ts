import type { precisions } from '../config/values.js';
import { UsageRefusal } from '../errors/refusal.js';
import type { Device } from '../onnx/session.js';
import { weightDType } from '../onnx/weight.js';
import type { Checkpoint } from './checkpoint.js';
import type { GemmaConfig } from './gemma-config.js';

/** Element type in which matrices are multiplied; norms, softmax, the residual stream and losses are float32 always. */
export type Precision = Exclude<(typeof precisions)[number], 'auto'>;

/** Where a model runs, and in which precision. */
export interface Placement {
  readonly device: Device;
  readonly precision: Precision;
}

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

/** The element type of most weights, told by the first block's largest matrix. */
function ownPrecision({ tensors }: Checkpoint): Precision {
  return weightDType(tensors.get('layers.0.mlp.gate_proj.weight')!) as Precision;
}

/**
 * Multiplications and additions of a pass on a CPU, at most: five seconds at 2·10¹¹ a second, as two cores do, one at
 * 10¹². While ONNX Runtime is in a pass the program hears no signal, so passes are kept short.
 */
const OPERATIONS = 1e12;

/** Parameters of one block's matrices. */
export function blockParameters({ hidden, heads, kvHeads, headDim, mlp }: GemmaConfig): number {
  return hidden * (2 * (heads + kvHeads) * headDim + 3 * mlp);
}

/**
 * Contexts that go through a model at a time; at least one, however long that takes.
 *
 * @param parameters multiplied with each token: of every matrix as often as it is used
 * @param context tokens a context
 */
export function contextsAtOnce(parameters: number, context: number, device: Device = 'cpu'): number {
  if (device !== 'cpu') return Number.POSITIVE_INFINITY;
  return Math.max(1, Math.floor(OPERATIONS / (2 * parameters * context)));
}

/** Longest context by default: that of the paper's Gemma 7B runs (appendix D). */
const DEFAULT_CONTEXT = 1024;

/**
 * Tokens a context: the wanted number, or the default as far as the model goes.
 *
 * @throws UsageRefusal when it is longer than the model's positions
 */
export function chooseContext(wanted: number | undefined, config: GemmaConfig): number {
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

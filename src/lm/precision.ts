import { UsageRefusal } from '../config/refusal.js';
import type { precisions } from '../config/stages.js';
import type { Device } from '../onnx/session.js';
import { weightDType } from '../onnx/weight.js';
import type { Checkpoint } from './checkpoint.js';

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
    );
  }
  return { device, precision: wanted };
}

/** The element type of most weights, told by the first block's largest matrix. */
function ownPrecision({ tensors }: Checkpoint): Precision {
  return weightDType(tensors.get('layers.0.mlp.gate_proj.weight')!) as Precision;
}

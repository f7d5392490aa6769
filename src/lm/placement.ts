import type { precisions } from '../config/values.js';
import type { Device } from '../onnx/session.js';

/** Element type in which matrices are multiplied; norms, softmax, the residual stream and losses are float32 always. */
export type Precision = Exclude<(typeof precisions)[number], 'auto'>;

/** Where a model runs, and in which precision. */
export interface Placement {
  readonly device: Device;
  readonly precision: Precision;
}

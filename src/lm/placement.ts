import type { precisions } from '../config/values.js';
import type { Device } from '../onnx/session.js';

/** Element type of matrix products; norms, softmax, the residual stream and losses are always float32. */
export type Precision = Exclude<(typeof precisions)[number], 'auto'>;

/** Where a model runs, and in which precision. */
export interface Placement {
  readonly device: Device;
  readonly precision: Precision;
}

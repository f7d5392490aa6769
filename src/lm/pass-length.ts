import type { Device } from '../onnx/session.js';
import type { GemmaConfig } from './gemma-config.js';

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

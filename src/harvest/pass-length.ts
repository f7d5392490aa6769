import type { GemmaConfig } from '../lm/gemma-config.js';
import type { Hook } from '../lm/hooks.js';
import { blockParameters, contextsAtOnce } from '../lm/pass-length.js';
import type { Device } from '../onnx/session.js';

/** Contexts of one forward pass to the deepest of the hooks, at most. */
export function harvestContexts(
  config: GemmaConfig,
  hooks: readonly Hook[],
  context: number,
  device: Device | undefined,
): number {
  const blocks = Math.max(1, ...hooks.map(({ layer }) => layer + 1));
  return contextsAtOnce(blocks * blockParameters(config), context, device);
}

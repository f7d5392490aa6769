import { section } from '../config/config-file.js';
import type { StageName } from '../config/stages.js';

/** Stages that a sweep runs in its own process. */
const OF_SWEEP = ['harvest', 'train', 'eval'] as const satisfies readonly StageName[];

/**
 * Does a command run anything on CUDA? ONNX Runtime looks for its CUDA provider next to where it was loaded from, so
 * this must be known before a CPU stage loads it.
 *
 * @param file configuration file
 */
export function usesCuda(stage: StageName, config: object, file: string | undefined): boolean {
  const runs = stage === 'sweep' && 'runs' in config ? ((config.runs ?? []) as readonly object[]) : [];
  const sections = stage === 'sweep' && file !== undefined ? OF_SWEEP.map((name) => section(file, name)) : [];
  return [config, ...runs, ...sections].some(namesCuda);
}

/** Is the value of a device flag (`device`, `model-device`), or one value of its list, a GPU? */
function namesCuda(flags: object): boolean {
  return Object.entries(flags).some(
    ([name, value]) => /device$/i.test(name) && [value].flat().some((device) => String(device).startsWith('cuda')),
  );
}

import { resolve } from 'node:path';
import { section } from '../config/config-file.js';
import { loadConfig } from '../config/load.js';
import type { Work } from './script.js';

/**
 * A sweep as jobs that follow one another, so that each asks for its own stage's time and none holds a node while
 * another works. Each is the sweep's own command, which keeps what is there and stops after its stage; the last one ends
 * in the bytes of a sweep in one go.
 *
 * @param file configuration file of the sweep
 * @throws UsageRefusal where its sections do not fit
 */
export function chainOf(file: string): Work[] {
  const { out, activations } = loadConfig('sweep', {}, file);
  const stages = [
    ...(activations === undefined ? ['harvest'] : []),
    'train',
    ...(Object.keys(section(file, 'eval')).length > 0 ? ['eval', 'report'] : []),
  ];
  const words = ['--config', resolve(file)];
  return stages.map((name, i) => ({
    stage: 'sweep',
    words: i === stages.length - 1 ? words : [...words, '--until', name],
    ...{ out, name },
  }));
}

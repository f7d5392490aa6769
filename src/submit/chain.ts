import { resolve } from 'node:path';
import { section } from '../config/config-file.js';
import { loadConfig } from '../config/load.js';
import { evaluationConfig, pageOf } from '../sweep/sweep.js';
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
  const config = loadConfig('sweep', {}, file);
  const { out, activations } = config;
  const has = (stage: 'eval' | 'report') => Object.keys(section(file, stage)).length > 0;
  // What is wrong in a section of a later job is told here, not hours later on a node.
  // The sweep itself says which hooks: any stands for them here.
  if (activations === undefined) loadConfig('harvest', { hook: ['blocks.0.hook_resid_post'], out }, file);
  if (has('eval')) {
    evaluationConfig(config, file, [out]);
    loadConfig('report', pageOf(config), has('report') ? file : undefined);
  }
  const stages = [
    ...(activations === undefined ? ['harvest'] : []),
    'train',
    ...(has('eval') ? ['eval', 'report'] : []),
  ];
  const words = ['--config', resolve(file)];
  return stages.map((name, i) => ({
    stage: 'sweep',
    words: i === stages.length - 1 ? words : [...words, '--until', name],
    ...{ out, name },
  }));
}

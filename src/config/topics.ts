import type { Flag } from './flags.js';
import type { StageName } from './stages.js';

/** What a flag is about, by schema key; the help shows flags in these groups, in this order. */
const TOPICS: Readonly<Record<string, readonly string[]>> = {
  Input: [
    'activations',
    'evaluation',
    'directory',
    'name',
    'sae',
    'feature',
    'as',
    'corpus',
    'textField',
    'encoding',
    'excludeSpecialTokens',
  ],
  Model: ['model', 'revision', 'offline', 'hook', 'context', 'batch', 'contextsPerPass', 'anyModel', 'precision'],
  'How much': ['tokens', 'steps', 'quick'],
  Dictionary: ['arch', 'dSae', 'ablate', 'train', 'init', 'anyHook', 'anyModel', 'bDecInit', 'normalize', 'runs'],
  Sparsity: ['l1', 'l1Convention', 'l2Normalise', 'l1Warmup'],
  Optimiser: ['lr', 'warmup', 'lrDecay', 'decaySteps', 'lrEnd', 'beta1', 'beta2', 'order', 'poolRows'],
  'Dead features': ['deadWindow', 'resampleAt', 'resampleInputs', 'resampleWarmup'],
  Measuring: ['meanAblation'],
  Output: [
    'out',
    'overwrite',
    'resume',
    'takeOver',
    'dtype',
    'rowsPerShard',
    'windowRows',
    'title',
    'reference',
    'port',
    'json',
  ],
  'Curve and checkpoints': ['logEvery', 'checkpointEvery', 'keepCheckpoints', 'discardState', 'strict'],
  'Hardware and repeatability': [
    'device',
    'modelDevice',
    'threads',
    'modelThreads',
    'engine',
    'enginePrecision',
    'experimental',
    'seed',
  ],
};

const OTHERS = 'Others';
const TOPIC_OF = new Map(Object.entries(TOPICS).flatMap(([topic, keys]) => keys.map((key) => [key, topic] as const)));

/** Flags under the heading of their topic, in the order of the topics; within one, what is required comes first. */
export function byTopic(stage: StageName, flags: readonly Flag[]): [topic: string, flags: Flag[]][] {
  // A batch of train is of activations, elsewhere of contexts.
  const topicOf = ({ key }: Flag) =>
    stage === 'train' && key === 'batch' ? 'Optimiser' : (TOPIC_OF.get(key) ?? OTHERS);
  return [...Object.keys(TOPICS), OTHERS].flatMap((topic): [string, Flag[]][] => {
    const inside = flags.filter((flag) => topicOf(flag) === topic);
    inside.sort((a, b) => Number(b.required) - Number(a.required));
    return inside.length > 0 ? [[topic, inside]] : [];
  });
}

import type { Target } from './target.js';
import { BROKEN_CHATS } from './targets/chats.js';
import { configuration } from './targets/configuration.js';
import { CORPORA } from './targets/corpora.js';
import { evaluation } from './targets/evaluation.js';
import { FEATURE_FOLDERS } from './targets/features.js';
import { hubCorpora } from './targets/hub-corpora.js';
import { MODELS } from './targets/models.js';
import { published } from './targets/published.js';
import { sae } from './targets/sae.js';
import { STORES } from './targets/stores.js';
import { stream } from './targets/stream.js';
import { tokenizer } from './targets/tokenizer.js';
import { trainingRun } from './targets/training-run.js';
import { watchedRun } from './targets/watched-run.js';

/** Everything that sae-pipe reads. */
export const TARGETS: readonly Target[] = [
  ...MODELS,
  tokenizer,
  sae,
  published,
  trainingRun,
  ...STORES,
  stream,
  watchedRun,
  evaluation,
  ...FEATURE_FOLDERS,
  configuration,
  ...CORPORA,
  ...BROKEN_CHATS,
  hubCorpora,
];

export function targetNamed(name: string): Target {
  const found = TARGETS.find((target) => target.name === name);
  if (!found)
    throw new Error(`there is no target ${name}; they are ${TARGETS.map((target) => target.name).join(', ')}`);
  return found;
}

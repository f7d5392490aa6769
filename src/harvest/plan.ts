import type { Manifest } from '../activations/manifest.js';
import type { HarvestConfig } from '../config/stages.js';
import { corpusFiles } from '../corpus/documents.js';
import { Text } from '../corpus/text.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import { chooseContext } from '../lm/context-length.js';
import { findHook, type Hook } from '../lm/hooks.js';
import { batchesPerWindow, newManifest, WINDOW_BYTES } from './store-plan.js';

/** What a harvest is going to do, whatever its rows go to; no weight has been read. */
export interface Plan {
  readonly checkpoint: Checkpoint;
  /** The corpus as tokens; its thread ends when it is closed. */
  readonly text: Text;
  readonly hooks: readonly Hook[];
  /** Tokens a context, BOS included. */
  readonly context: number;
  /** Groups of --batch contexts a window. */
  readonly windowBatches: number;
  /** Of the stores of all hooks as they would be begun. */
  readonly manifests: readonly Manifest[];
}

/**
 * @param model the model's directory
 * @param windowBytes memory for the windows of all hooks together, at most
 * @throws Refusal when model, hooks or context do not fit one another
 */
export async function planHarvest(
  config: HarvestConfig,
  model: string,
  windowBytes: number = WINDOW_BYTES,
): Promise<Plan> {
  const checkpoint = await openCheckpoint(model);
  const context = chooseContext(config.context, checkpoint.config);
  const hooks = [...new Set(config.hook)].map((name) => findHook(name, checkpoint.config));
  const windowBatches = batchesPerWindow(config, hooks, context, windowBytes);
  const { bosTokenId, vocabulary, special } = checkpoint.config;
  const { files } = await corpusFiles(config);
  const { corpus, textField, encoding } = config;
  const text = await Text.open({
    ...{ model, expected: { bosTokenId, vocabulary, special }, context },
    ...{ corpus, textField, encoding },
  });
  try {
    const manifests = hooks.map((hook) =>
      newManifest(config, files, checkpoint, text.facts, hook, context, windowBatches),
    );
    return { checkpoint, text, hooks, context, windowBatches, manifests };
  } catch (error) {
    await text.close({ say() {} });
    throw error;
  }
}

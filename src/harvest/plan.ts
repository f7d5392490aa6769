import type { Manifest } from '../activations/manifest.js';
import type { HarvestConfig } from '../config/stages.js';
import { type Context, packContexts } from '../corpus/contexts.js';
import { corpusFiles, readDocuments } from '../corpus/documents.js';
import { openTokenizer, type Tokenizer } from '../corpus/tokenizer.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import { chooseContext } from '../lm/context-length.js';
import { findHook, type Hook } from '../lm/hooks.js';
import { batchesPerWindow, newManifest, WINDOW_BYTES } from './store-plan.js';

/** What a harvest is going to do, whatever its rows go to; no weight has been read. */
export interface Plan {
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
  readonly hooks: readonly Hook[];
  /** Tokens a context, BOS included. */
  readonly context: number;
  /** Groups of --batch contexts a window. */
  readonly windowBatches: number;
  /** Of the stores of all hooks as they would be begun. */
  readonly manifests: readonly Manifest[];
  /**
   * The corpus from its beginning.
   *
   * @param say hears what was passed over or replaced in each file
   */
  contexts(say?: (line: string) => void): AsyncGenerator<Context>;
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
  const tokenizer = await openTokenizer(model, checkpoint.config.bosTokenId);
  const windowBatches = batchesPerWindow(config, hooks, context, windowBytes);
  const { files } = await corpusFiles(config);
  const manifests = hooks.map((hook) =>
    newManifest(config, files, checkpoint, tokenizer, hook, context, windowBatches),
  );
  const { corpus, textField, encoding } = config;
  const contexts = (say?: (line: string) => void) =>
    packContexts(readDocuments(corpus, textField, { encoding, say }), tokenizer, context);
  return { checkpoint, tokenizer, hooks, context, windowBatches, manifests, contexts };
}

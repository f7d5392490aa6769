import type { ModelSource } from '../config/stages.js';
import { modelConfig } from '../hub/model-config.js';
import type { HubSettings } from '../hub/settings.js';
import type { StopRequest } from '../progress/progress.js';
import { parseGemmaConfig } from './gemma-config.js';
import { allHooks, type Hook } from './hooks.js';

/**
 * Every hook point of what `--model` names, first layer first, from its config.json alone: no weights are needed, and
 * of a model of the hub nothing else is downloaded.
 *
 * @param settings of the hub, read from the environment by default
 * @throws Refusal when there is no such model, or it is not a Gemma
 */
export async function modelHooks(source: ModelSource, stop: StopRequest, settings?: HubSettings): Promise<Hook[]> {
  const { json, path } = await modelConfig(source, stop, settings);
  return allHooks(parseGemmaConfig(json, path));
}

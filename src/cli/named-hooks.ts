import type { HooksConfig, ModelSource } from '../config/stages.js';
import { expandHooks, expandOneHook, isPattern } from '../lm/hook-names.js';
import { findHookAmong } from '../lm/hooks.js';
import { modelHooks } from '../lm/model-hooks.js';
import type { StopRequest } from '../progress/progress.js';

type Source = Partial<Pick<ModelSource, 'model'>> & Omit<ModelSource, 'model'>;

/** Names of the model's hooks. Without a model, patterns stand for nothing. */
const namesOf = (source: Source, stop: StopRequest) => async () =>
  source.model === undefined
    ? []
    : (await modelHooks({ ...source, model: source.model }, stop)).map(({ name }) => name);

/** A configuration with the hooks that its patterns and lists stand for. */
export async function withHooks<C extends Source & { hook?: string[] | undefined }>(
  config: C,
  stop: StopRequest,
): Promise<C> {
  return config.hook === undefined
    ? config
    : { ...config, hook: await expandHooks(config.hook, namesOf(config, stop)) };
}

/** The same for a command that takes one hook. */
export async function withOneHook<C extends Source & { hook?: string | undefined }>(
  config: C,
  stop: StopRequest,
): Promise<C> {
  const { hook } = config;
  if (hook === undefined || (!isPattern(hook) && !hook.includes(','))) return config;
  return { ...config, hook: await expandOneHook(hook, namesOf(config, stop)) };
}

/** The hook points of a model, a line each: name and width. */
export async function hookTable(config: HooksConfig, stop: StopRequest): Promise<string> {
  const all = await modelHooks(config, stop);
  const names = all.map(({ name }) => name);
  const wanted = config.hook === undefined ? names : await expandHooks(config.hook, async () => names);
  const hooks = wanted.map((name) => findHookAmong(name, all));
  if (config.json) return JSON.stringify(hooks, null, 1);
  const longest = Math.max(...hooks.map(({ name }) => name.length));
  return hooks.map(({ name, width }) => `${name.padEnd(longest)}  ${width}`).join('\n');
}

import { didYouMean } from '../errors/nearest.js';
import { UsageRefusal } from '../errors/refusal.js';
import { type ModelSource, modelConfig } from '../hub/model-source.js';
import type { HubSettings } from '../hub/request.js';
import { type StopRequest, textTable } from '../progress/progress.js';
import { parseModelConfig } from './families/registry.js';
import { findHookAmong, type Hook } from './hooks.js';

type PossibleModel = Partial<Pick<ModelSource, 'model'>> & Omit<ModelSource, 'model'>;

/** Names of the model's hooks. Without a model, patterns stand for nothing. */
const namesOf = (source: PossibleModel, stop: StopRequest) => async () =>
  source.model === undefined
    ? []
    : (await modelHooks({ ...source, model: source.model }, stop)).map(({ name }) => name);

/** A configuration with the hooks that its patterns and lists stand for. */
export async function withHooks<C extends PossibleModel & { hook?: string[] | undefined }>(
  config: C,
  stop: StopRequest,
): Promise<C> {
  return config.hook === undefined
    ? config
    : { ...config, hook: await expandHooks(config.hook, namesOf(config, stop)) };
}

/** The same for a command that takes one hook. */
export async function withOneHook<C extends PossibleModel & { hook?: string | undefined }>(
  config: C,
  stop: StopRequest,
): Promise<C> {
  const { hook } = config;
  if (hook === undefined || (!isPattern(hook) && !hook.includes(','))) return config;
  return { ...config, hook: await expandOneHook(hook, namesOf(config, stop)) };
}

/** The hook points of a model, a line each: name and width. */
export async function hookTable(
  config: ModelSource & { readonly hook?: readonly string[]; readonly json: boolean },
  stop: StopRequest,
): Promise<string> {
  const all = await modelHooks(config, stop);
  const names = all.map(({ name }) => name);
  const wanted = config.hook === undefined ? names : await expandHooks(config.hook, async () => names);
  const hooks = wanted.map((name) => findHookAmong(name, all));
  if (config.json) return JSON.stringify(hooks, null, 1);
  return textTable(hooks.map(({ name, width }) => [name, String(width)])).join('\n');
}

/** May a name stand for several hooks? `*` is any text. */
const isPattern = (name: string): boolean => name.includes('*');

/** Hooks as they were given, lists with commas split, each once. */
function splitHooks(given: readonly string[]): string[] {
  return [...new Set(given.flatMap((one) => one.split(',').map((name) => name.trim())))];
}

/**
 * The names that patterns stand for, in the order of `names`; what is not a pattern stays as it is, to be checked where the
 * model is opened.
 *
 * @param given names, patterns (`blocks.*.hook_resid_post`) and lists of both with commas
 * @param names every name there is; asked for only where there is a pattern
 * @returns each name once
 * @throws UsageRefusal for a pattern that no name matches, and for an empty name in a list
 */
export async function expandHooks(
  given: readonly string[],
  names: () => Promise<readonly string[]>,
): Promise<string[]> {
  const split = splitHooks(given);
  if (split.includes('')) {
    throw new UsageRefusal(
      `--hook "${given.join(' ')}" has an empty name in it.`,
      'Separate names by single commas.',
      'lm/empty-hook',
    );
  }
  if (!split.some(isPattern)) return split;
  const all = await names();
  return [...new Set(split.flatMap((name) => (isPattern(name) ? matching(name, all) : [name])))];
}

/** The same where exactly one hook is meant. */
export async function expandOneHook(given: string, names: () => Promise<readonly string[]>): Promise<string> {
  const found = await expandHooks([given], names);
  if (found.length === 1) return found[0]!;
  throw new UsageRefusal(
    `--hook ${given} stands for ${found.length} hooks (${abridged(found)}), and one is needed.`,
    'Name one hook.',
    'lm/several-hooks',
  );
}

function matching(pattern: string, names: readonly string[]): string[] {
  const found = names.filter((name) => matches(name, pattern.split('*')));
  if (found.length > 0) return found;
  // The site is what may be misspelt; the layer is the star.
  const layers = names.map((name) => name.replace(/\d+/, '*'));
  throw new UsageRefusal(
    `No hook matches ${pattern}.`,
    didYouMean(pattern, [...new Set(layers)]) ?? `There are ${abridged(names)}.`,
    'lm/no-hook',
  );
}

/** Does a name begin with the first part, end with the last, and have the others between, one after another? */
function matches(name: string, parts: readonly string[]): boolean {
  const [first, last] = [parts[0]!, parts.at(-1)!];
  const end = name.length - last.length;
  if (!name.startsWith(first) || !name.endsWith(last)) return false;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= end;
}

const abridged = (names: readonly string[]) =>
  names.length > 4 ? `${names.slice(0, 2).join(', ')}, …, ${names.at(-1)}` : names.join(', ');

/**
 * Every hook point of what `--model` names, first layer first, from its config.json alone: no weights are needed, and
 * of a model of the hub nothing else is downloaded.
 *
 * @param settings of the hub, read from the environment by default
 * @throws Refusal when there is no such model, or its family is not supported
 */
export async function modelHooks(
  source: ModelSource,
  stop: StopRequest,
  settings?: HubSettings,
): Promise<readonly Hook[]> {
  const { json, path } = await modelConfig(source, stop, settings);
  return parseModelConfig(json, path).hooks;
}

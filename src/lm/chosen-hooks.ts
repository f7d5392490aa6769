import { didYouMean } from '../errors/nearest.js';
import { UsageRefusal } from '../errors/refusal.js';
import { type ModelSource, modelConfig } from '../hub/model-source.js';
import type { HubSettings } from '../hub/request.js';
import { type StopRequest, textTable } from '../progress/progress.js';
import { parseModelConfig } from './families/registry.js';
import { findHookAmong, type Hook } from './hooks.js';

type PossibleModel = Partial<Pick<ModelSource, 'model'>> & Omit<ModelSource, 'model'>;

/** Names of the model's hooks. Without a model, patterns match nothing. */
const namesOf = (source: PossibleModel, stop: StopRequest) => async () =>
  source.model === undefined
    ? []
    : (await modelHooks({ ...source, model: source.model }, stop)).map(({ name }) => name);

/** A configuration with its hook patterns and lists expanded. */
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

/** The hook points of a model, one per line: name and width. */
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

/** May a name match several hooks? `*` matches any text. */
const isPattern = (name: string): boolean => name.includes('*');

/** Hooks as given, with comma-separated lists split and duplicates removed. */
function splitHooks(given: readonly string[]): string[] {
  return [...new Set(given.flatMap((one) => one.split(',').map((name) => name.trim())))];
}

/**
 * Expands patterns, in the order of `names`; plain names are returned unchanged, and checked when the model is opened.
 *
 * @param given names, patterns (`blocks.*.hook_resid_post`) and comma-separated lists of both
 * @param names all names; called only if there is a pattern
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
      `--hook "${given.join(' ')}" contains an empty name.`,
      'Separate names by single commas.',
      'lm/empty-hook',
    );
  }
  if (!split.some(isPattern)) return split;
  const all = await names();
  return [...new Set(split.flatMap((name) => (isPattern(name) ? matching(name, all) : [name])))];
}

/** The same if exactly one hook is required. */
export async function expandOneHook(given: string, names: () => Promise<readonly string[]>): Promise<string> {
  const found = await expandHooks([given], names);
  if (found.length === 1) return found[0]!;
  throw new UsageRefusal(
    `--hook ${given} matches ${found.length} hooks (${abridged(found)}), but exactly one is needed.`,
    'Give one hook.',
    'lm/several-hooks',
  );
}

function matching(pattern: string, names: readonly string[]): string[] {
  const found = names.filter((name) => matches(name, pattern.split('*')));
  if (found.length > 0) return found;
  // The site may be misspelt; the layer is the star.
  const layers = names.map((name) => name.replace(/\d+/, '*'));
  throw new UsageRefusal(
    `No hook matches ${pattern}.`,
    didYouMean(pattern, [...new Set(layers)]) ?? `The hooks are ${abridged(names)}.`,
    'lm/no-hook',
  );
}

/** Does a name begin with the first part, end with the last, and contain the others in between, in order? */
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
 * Every hook point of `--model`, first layer first, from its config.json alone: no weights are needed, and nothing else
 * of a hub model is downloaded.
 *
 * @param settings of the hub, read from the environment by default
 * @throws Refusal if there is no such model, or its family is not supported
 */
export async function modelHooks(
  source: ModelSource,
  stop: StopRequest,
  settings?: HubSettings,
): Promise<readonly Hook[]> {
  const { json, path } = await modelConfig(source, stop, settings);
  return parseModelConfig(json, path).hooks;
}

import { UsageRefusal } from '../config/refusal.js';
import { didYouMean } from '../config/suggest.js';

/** May a name stand for several hooks? `*` is any text. */
export const isPattern = (name: string): boolean => name.includes('*');

/** Hooks as they were given, lists with commas split, each once. */
export function splitHooks(given: readonly string[]): string[] {
  return [...new Set(given.flatMap((one) => one.split(',').map((name) => name.trim())))];
}

/**
 * The names that patterns stand for, in the order of `names`; what is no pattern stays as it is, to be checked where the
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
    throw new UsageRefusal(`--hook "${given.join(' ')}" has an empty name in it.`, 'Separate names by single commas.');
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

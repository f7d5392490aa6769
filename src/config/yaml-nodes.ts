import type { Alias, Node } from 'yaml';

/** Aliases (`*name`) of a file, at most. */
const MOST_ALIASES = 100;

/** What is asked of any node: of a scalar or a list without anchor, most is not there. */
interface AnyNode {
  readonly items?: readonly unknown[];
  readonly anchor?: string;
  readonly range?: readonly [start: number, value: number, end: number];
}

/**
 * Checks a parsed document for what yaml does not look for, or takes ever longer over: it compares each key with all
 * others, and an alias within what it stands for has no end.
 *
 * @throws Error for a mapping with the same key twice, an alias within its own anchor, and too many aliases
 */
export function checkNodes(root: unknown, isAlias: (node: unknown) => node is Alias): void {
  const left: unknown[] = [root];
  const anchors: { name: string; start: number; end: number }[] = [];
  const aliases: { name: string; at: number }[] = [];
  while (left.length > 0) {
    const node = left.pop();
    const { items = [], anchor, range } = (node ?? {}) as AnyNode;
    if (anchor !== undefined && range) anchors.push({ name: anchor, start: range[0], end: range[1] });
    if (isAlias(node)) aliases.push({ name: node.source, at: node.range?.[0] ?? 0 });
    if (aliases.length > MOST_ALIASES) throw new Error(`it has more than ${MOST_ALIASES} aliases`);
    left.push(...childrenOf(items));
  }
  for (const { name, at } of aliases) {
    const within = anchors.some((anchor) => anchor.name === name && anchor.start <= at && at < anchor.end);
    if (within) throw new Error(`the alias *${name} stands within its own anchor`);
  }
}

/** Items of a list; values of a mapping, and keys that are no scalars. */
function* childrenOf(items: readonly unknown[]): Generator<unknown> {
  const keys = new Set<string>();
  for (const item of items) {
    const { key, value } = (item ?? {}) as { key?: Node | null; value?: unknown };
    if (key === undefined) {
      yield item;
      continue;
    }
    yield key;
    yield value;
    const name = String((key as { value?: unknown } | null)?.value ?? key);
    if (keys.has(name)) throw new Error(`the key "${name}" is there twice`);
    keys.add(name);
  }
}

/** Part of a pattern: one character, or any number of them. */
interface Token {
  readonly test: (character: string) => boolean;
  readonly kind: 'one' | 'many' | 'directories';
}

/** Max alternatives from braces; further ones match nothing. */
const MOST_ALTERNATIVES = 64;

/**
 * Matches paths against a pattern: * matches anything within a name, ** across directories, ? one character, [a-z] and
 * [!a-z] one of a set, {a,b} either. Patterns may come from anyone, so the time is bounded by the product of both
 * lengths.
 */
export function globMatcher(pattern: string): (path: string) => boolean {
  const alternatives = withoutBraces(pattern).map(tokensOf);
  return (path) => alternatives.some((tokens) => matches(tokens, path));
}

function withoutBraces(pattern: string): string[] {
  let open = [pattern];
  for (;;) {
    const next = open.flatMap((one) => {
      const [whole, before, inner, after] = /^([^{]*)\{([^{}]*)\}(.*)$/s.exec(one) ?? [];
      return whole === undefined ? [one] : inner!.split(',').map((part) => before! + part + after!);
    });
    if (next.length === open.length && next.every((one, i) => one === open[i])) return open;
    open = next.slice(0, MOST_ALTERNATIVES);
  }
}

function tokensOf(pattern: string): Token[] {
  const tokens: Token[] = [];
  const any = () => true;
  const inName = (character: string) => character !== '/';
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i]!;
    const set = character === '[' ? /^\[(!?)([^\]/]+)\]/.exec(pattern.slice(i, i + 256)) : null;
    if (pattern.startsWith('**/', i)) {
      tokens.push({ kind: 'directories', test: any });
      i += 2;
    } else if (pattern.startsWith('**', i)) {
      tokens.push({ kind: 'many', test: any });
      i++;
    } else if (character === '*') tokens.push({ kind: 'many', test: inName });
    else if (character === '?') tokens.push({ kind: 'one', test: inName });
    else if (set) {
      const members = membersOf(set[2]!);
      const wanted = set[1] === '';
      tokens.push({ kind: 'one', test: (one) => inName(one) && members(one) === wanted });
      i += set[0].length - 1;
    } else tokens.push({ kind: 'one', test: (one) => one === character });
  }
  return tokens;
}

/** Members of a set: characters and ranges. */
function membersOf(set: string): (character: string) => boolean {
  const ranges: [string, string][] = [];
  for (let i = 0; i < set.length; i++) {
    const isRange = set[i + 1] === '-' && i + 2 < set.length;
    ranges.push([set[i]!, isRange ? set[i + 2]! : set[i]!]);
    if (isRange) i += 2;
  }
  return (character) => ranges.some(([first, last]) => first <= character && character <= last);
}

/** Follows all paths through the pattern at once. */
function matches(tokens: readonly Token[], path: string): boolean {
  let states = new Set<number>();
  const enter = (into: Set<number>, state: number) => {
    into.add(state);
    // Tokens that can match nothing may be skipped.
    for (let at = state; at < tokens.length && tokens[at]!.kind !== 'one'; at++) into.add(at + 1);
  };
  enter(states, 0);
  for (const character of path) {
    const next = new Set<number>();
    for (const state of states) {
      const token = tokens[state];
      if (!token?.test(character)) continue;
      if (token.kind === 'one') enter(next, state + 1);
      else if (token.kind === 'many') enter(next, state);
      else {
        next.add(state);
        if (character === '/') enter(next, state + 1);
      }
    }
    states = next;
  }
  return states.has(tokens.length);
}

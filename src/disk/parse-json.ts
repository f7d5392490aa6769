/** Deepest nesting of a file that is ours or Hugging Face's is below ten. */
const MOST_LEVELS = 200;

/**
 * Parses JSON that is not nested without end: V8 parses a million levels, and whatever compares, writes or walks the
 * value afterwards would overflow its stack.
 *
 * @throws SyntaxError where it is not JSON, or nested too deeply
 */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MOST_LEVELS) throw new SyntaxError(`nested more than ${MOST_LEVELS} levels deep`);
    const next: unknown[] = [];
    for (const one of level) {
      if (one === null || typeof one !== 'object') continue;
      for (const inner of Object.values(one)) if (inner !== null && typeof inner === 'object') next.push(inner);
    }
    level = next;
  }
  return value;
}

/** Deepest nesting of a file that is ours or Hugging Face's is below ten. */
const MOST_LEVELS = 200;

/**
 * Parses JSON that is not nested without end: V8 parses a million levels, and whatever compares, writes or walks the
 * value afterwards would overflow its stack.
 *
 * @throws SyntaxError where it is not JSON, or nested too deeply; its message shows nothing of the text
 */
export function parseJson(text: string): unknown {
  const value = parsed(text);
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

/** V8 quotes the text, which may be another file than its reader believes: a link to a private key, say. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError((error as Error).message.replace(/^(Unexpected token).*$/s, '$1'));
  }
}

import { allocateRows } from '../../src/activations/rows.js';
import type { Context } from '../../src/corpus/contexts.js';
import type { ForwardPass } from '../../src/harvest/forward-pass.js';
import { withRows } from '../../src/harvest/window-groups.js';

/** Tokens per context: BOS, which is 0, and three that give rows. */
export const CONTEXT = 4;
export const ROWS = CONTEXT - 1;

/** The context of that number, its tokens all different. */
export const contextAt = (index: number): Context => ({
  index,
  tokens: Int32Array.from({ length: CONTEXT }, (_, t) => (t === 0 ? 0 : 10 * index + t)),
  documents: new Uint32Array(CONTEXT),
});

/** A model whose activation is its token, d_in 1, at every hook; takes this many contexts at a time and records which. */
export function passOf(contexts: number, seen: number[][], hooks = 1): ForwardPass {
  const run: ForwardPass['run'] = async (group, bos, limit) => {
    seen.push(group.map(({ index }) => index));
    const kept = group
      .flatMap(({ index, tokens }) => [...tokens].map((token, pos) => ({ index, token, pos })))
      .filter(({ token }) => token !== bos)
      .slice(0, limit);
    const rows = allocateRows(kept.length, 1, 'float32');
    kept.forEach(({ index, token, pos }, i) => {
      rows.activation[i] = token;
      rows.token[i] = token;
      rows.context[i] = index;
      rows.pos[i] = pos;
    });
    return {
      rows: Array.from({ length: hooks }, () => rows),
      norms: Array.from({ length: hooks }, () => Float32Array.from(kept, ({ token }) => token)),
      count: kept.length,
      contexts: withRows(group, limit, bos),
    };
  };
  return { run, contexts, release: async () => {} };
}

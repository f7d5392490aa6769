import type { Manifest } from '../activations/manifest.js';
import { type Context, countActivations, type LeftOut } from '../corpus/contexts.js';
import { rowsOfGroup } from './epochs.js';
import { leftOutOf } from './store-plan.js';
import type { TextHash } from './text-hash.js';

/** Where a harvest is after whole windows were left out. */
export interface Skipped {
  /** Number of the first window that is not left out. */
  readonly index: number;
  /** Rows of a hook in the windows before it. */
  readonly rows: number;
  /** Groups of contexts from that window's beginning on. */
  readonly groups: AsyncGenerator<readonly Context[]>;
}

/**
 * Reads past every window that ends at or before row `target`, without a forward pass. The windows are those that
 * assembleWindows makes of the same groups.
 *
 * @param text gets their contexts
 */
export async function skipWindows(
  groups: AsyncGenerator<readonly Context[]>,
  manifest: Manifest,
  target: number,
  text: Pick<TextHash, 'add'>,
): Promise<Skipped> {
  const { window_batches: perWindow, rows_wanted: wanted } = manifest;
  const leftOut = leftOutOf(manifest);
  let [index, rows] = [0, 0];
  let held: (readonly Context[])[] = [];
  while (rows < target) {
    // Whether a window is left out is known when all of its contexts have been read.
    let inWindow = 0;
    while (held.length < perWindow && rows + inWindow < wanted) {
      const { value, done } = await groups.next();
      if (done) break;
      held.push(value);
      inWindow = Math.min(inWindow + rowsOfGroup(value, leftOut), wanted - rows);
    }
    if (held.length === 0 || rows + inWindow > target) break;
    text.add(withRows(held.flat(), wanted - rows, leftOut));
    index++;
    rows += inWindow;
    held = [];
  }
  return { index, rows, groups: after(held, groups) };
}

/** The contexts that a harvest makes a window of: those before `limit` rows are there, as forward-pass.ts takes them. */
function withRows(contexts: readonly Context[], limit: number, leftOut: LeftOut): Context[] {
  let rows = 0;
  const taken: Context[] = [];
  for (const context of contexts) {
    if (rows >= limit) break;
    taken.push(context);
    rows += countActivations(context, leftOut);
  }
  return taken;
}

async function* after(
  held: readonly (readonly Context[])[],
  rest: AsyncGenerator<readonly Context[]>,
): AsyncGenerator<readonly Context[]> {
  yield* held;
  yield* rest;
}

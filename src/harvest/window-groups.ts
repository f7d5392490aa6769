import { type Context, countActivations, type LeftOut } from '../corpus/contexts.js';

/** Is a window with this many groups full? One without a row takes groups until it has some. */
export const isFull = (groups: number, rows: number, perWindow: number): boolean => groups >= perWindow && rows > 0;

/** Rows that a forward pass over the group would give, known from its tokens alone. */
export function rowsOfGroup(group: readonly Context[], leftOut: LeftOut): number {
  return group.reduce((sum, context) => sum + countActivations(context, leftOut), 0);
}

/** The groups of contexts of a window. */
export interface WindowGroups {
  readonly held: (readonly Context[])[];
  /** Their rows, limited to those wanted. */
  readonly rows: number;
}

/**
 * The groups of the next window of a text, without a forward pass: those of which assembleWindows makes one, fewer at
 * the end of the text.
 *
 * @param left rows still wanted
 */
export async function readWindow(
  groups: AsyncIterator<readonly Context[]>,
  perWindow: number,
  left: number,
  leftOut: LeftOut,
): Promise<WindowGroups> {
  const held: (readonly Context[])[] = [];
  let rows = 0;
  // Whether a window is complete is known only when all of its contexts have been read.
  while (!isFull(held.length, rows, perWindow) && rows < left) {
    const { value, done } = await groups.next();
    if (done) break;
    held.push(value);
    rows = Math.min(rows + rowsOfGroup(value, leftOut), left);
  }
  return { held, rows };
}

/** The contexts of a harvest's window: those up to `limit` rows, as in forward-pass.ts. */
export function withRows(contexts: readonly Context[], limit: number, leftOut: LeftOut): Context[] {
  let rows = 0;
  const taken: Context[] = [];
  for (const context of contexts) {
    if (rows >= limit) break;
    taken.push(context);
    rows += countActivations(context, leftOut);
  }
  return taken;
}

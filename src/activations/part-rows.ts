import { rowsPerContext } from '../corpus/contexts.js';
import type { Manifest } from './manifest.js';
import { windowOfWhole } from './store-parts.js';

/** The settings of a store that determine its number of rows. */
export type PartShape = Pick<Manifest, 'batch' | 'window_batches' | 'context' | 'prepend_bos' | 'rows_wanted' | 'part'>;

/** Max rows of a window: a full one in which only BOS is left out. */
export const rowsOfWindow = ({ batch, window_batches, context, prepend_bos }: PartShape): number =>
  window_batches * batch * rowsPerContext(context, prepend_bos);

/** Rows of this store: exact for a whole one, and for a part if only BOS is left out. */
export function rowsExpected(manifest: PartShape): number {
  const { part, rows_wanted: wanted } = manifest;
  if (!part) return wanted;
  const most = rowsOfWindow(manifest);
  const windows = Math.ceil(wanted / most);
  const own = Math.max(0, Math.ceil((windows - part.index) / part.of));
  const hasLast = own > 0 && windowOfWhole(part, own - 1) === windows - 1;
  return own * most - (hasLast ? windows * most - wanted : 0);
}

import { rowsPerContext } from '../corpus/contexts.js';
import type { Manifest } from './manifest.js';
import { windowOfWhole } from './store-parts.js';

/** What of a store decides how many rows it will have. */
export type PartShape = Pick<Manifest, 'batch' | 'window_batches' | 'context' | 'prepend_bos' | 'rows_wanted' | 'part'>;

/** Rows of a full window of contexts in which no token is left out but BOS: none has more. */
export const rowsOfWindow = ({ batch, window_batches, context, prepend_bos }: PartShape): number =>
  window_batches * batch * rowsPerContext(context, prepend_bos);

/** Rows of this store: exact of a whole one, and of a part as far as no token but BOS is left out. */
export function rowsExpected(manifest: PartShape): number {
  const { part, rows_wanted: wanted } = manifest;
  if (!part) return wanted;
  const most = rowsOfWindow(manifest);
  const windows = Math.ceil(wanted / most);
  const own = Math.max(0, Math.ceil((windows - part.index) / part.of));
  const hasLast = own > 0 && windowOfWhole(part, own - 1) === windows - 1;
  return own * most - (hasLast ? windows * most - wanted : 0);
}

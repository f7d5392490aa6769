import type { Manifest } from '../activations/manifest.js';
import type { Context } from '../corpus/contexts.js';
import { positionOf } from '../corpus/text-position.js';

/**
 * Says that a harvest had its tokens before the files of its corpus came to an end; undefined if they did, or if the
 * order of reading is not that of the files (several corpora, shuffled documents).
 *
 * @param last the last context that was read
 */
export function unreadFiles(
  { corpus, corpus_files: files, rows_wanted: wanted, part }: Manifest,
  last: Context | undefined,
): string | undefined {
  if (!last?.position || !files || part) return undefined;
  const { file } = positionOf(last.position, last.index + 1);
  const rest = files.count - file - 1;
  if (rest <= 0) return undefined;
  const name = files.first[file] ? ` (${files.first[file].file})` : '';
  return `${corpus} was read up to file ${file + 1} of ${files.count}${name}, where --tokens ${wanted} were complete; ${rest} more ${rest === 1 ? 'file was' : 'files were'} not read.`;
}

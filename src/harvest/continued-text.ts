import type { Manifest } from '../activations/manifest.js';
import { allContexts } from '../activations/store-contexts.js';
import { DocumentsOfContexts, figuresRead } from '../corpus/read-tally.js';
import type { TextContinued } from '../corpus/text.js';
import { Refusal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { throwIfStopped } from '../progress/stop.js';

/**
 * The position in a harvest's text after the windows that all of its stores have, with the counts up to there, so
 * that nothing before it is read again. Known documents are those of the stores' own contexts.
 *
 * @param directory of the store with the fewest windows
 * @param manifests of all stores that are written together
 * @param behind index of that store among them
 * @param stopped message for a stop
 * @returns undefined if the store does not record it, its contexts are incomplete, or another store has different ones:
 *   then the
 *   text is read again
 */
export async function continuedText(
  directory: string,
  manifests: readonly Manifest[],
  behind: number,
  stop: StopRequest,
  stopped: string,
): Promise<TextContinued | undefined> {
  const manifest = manifests[behind]!;
  const { contexts, text_position: position, text_read: read, text_identity: identity } = manifest;
  const last = contexts.at(-1);
  if (!identity || !position || !read || !last) return undefined;
  if (position.contexts !== last.first + last.contexts) return undefined;
  // A store that is windows ahead may be of another text, which reading the text detects.
  if (manifests.some((other) => contexts.some(({ sha256 }, i) => other.contexts[i]?.sha256 !== sha256)))
    return undefined;
  const documents = new DocumentsOfContexts(manifest.prepend_bos ? manifest.bos_token_id : undefined);
  try {
    for await (const context of allContexts(directory, manifest)) {
      throwIfStopped(stop, stopped);
      documents.add(context);
    }
  } catch (error) {
    if (error instanceof Refusal && error.code === 'activations/contexts-changed') return undefined;
    throw error;
  }
  // The document at this position is reread, and counted at its end.
  if (position.over || documents.last !== position.document) documents.end();
  return { position, counted: { figures: figuresRead(read), known: documents.known } };
}

import { encodeContexts } from '../activations/arrow-files.js';
import type { Manifest } from '../activations/manifest.js';
import { sha256 } from '../activations/store-writer.js';
import { Refusal } from '../config/refusal.js';
import type { Context } from '../corpus/contexts.js';
import type { StopRequest } from '../progress/progress.js';
import { throwIfStopped } from '../progress/unless-stopped.js';

/** What a stop of a resumed harvest comes to before its first forward pass. */
export const NOTHING_ADDED = 'nothing had been added yet; continue with the same command and --resume.';

/** The first contexts of a window, as a store has recorded them. */
interface Recorded {
  readonly contexts: number;
  readonly sha256: string;
}

/**
 * Everything that a store has recorded of window `index`: it is finished, or some of its shards are listed, or its rows
 * were kept by an interruption.
 */
function recordedOf({ contexts, pending, partial }: Manifest, index: number): Recorded[] {
  const found: Recorded[] = contexts.slice(index, index + 1);
  const of = (part: { contexts: number; contexts_sha256: string }) => ({
    contexts: part.contexts,
    sha256: part.contexts_sha256,
  });
  if (pending?.window === index) found.push(of(pending));
  if (partial && contexts.length === index) found.push(of(partial));
  return found;
}

/**
 * Reads the text past the first `done` windows, and makes sure that it is the text that every store has recorded, in the
 * window under way too: nothing of another text may be put next to rows that are kept.
 *
 * @param contexts of the corpus, from its beginning
 * @returns contexts from the beginning of window `done` on
 * @throws Refusal where the text is another one; nothing has been changed by then
 */
export async function readRecorded(
  manifests: readonly Manifest[],
  done: number,
  contexts: AsyncGenerator<Context>,
  corpus: string,
  stop: StopRequest,
): Promise<AsyncGenerator<Context>> {
  let window: Context[] = [];
  for (let index = 0; index <= done; index++) {
    const recorded = manifests.flatMap((manifest) => recordedOf(manifest, index));
    window = await take(contexts, Math.max(0, ...recorded.map((part) => part.contexts)), stop);
    checkRecorded(recorded, window, corpus);
  }
  return joined(window, contexts);
}

/** @throws Refusal where a store has finished window `index` with other contexts than these */
export function checkFinished(
  { contexts: finished }: Manifest,
  index: number,
  contexts: readonly Context[],
  corpus: string,
): void {
  checkRecorded(finished.slice(index, index + 1), contexts, corpus);
}

function checkRecorded(recorded: readonly Recorded[], window: readonly Context[], corpus: string): void {
  const hashes = new Map<number, string>();
  for (const { contexts, sha256: expected } of recorded) {
    const found = hashes.get(contexts) ?? sha256(encodeContexts(window.slice(0, contexts)));
    hashes.set(contexts, found);
    if (found !== expected) throw otherText(corpus);
  }
}

/** The next `count` contexts, or as many as there are. */
export async function take(contexts: AsyncGenerator<Context>, count: number, stop: StopRequest): Promise<Context[]> {
  const taken: Context[] = [];
  while (taken.length < count) {
    throwIfStopped(stop, NOTHING_ADDED);
    const { value, done } = await contexts.next();
    if (done) break;
    taken.push(value);
  }
  if (taken.length < count) throwIfStopped(stop, NOTHING_ADDED);
  return taken;
}

async function* joined(first: readonly Context[], rest: AsyncGenerator<Context>): AsyncGenerator<Context> {
  yield* first;
  yield* rest;
}

function otherText(corpus: string): Refusal {
  return new Refusal(
    `The text of ${corpus}, or how it is tokenized, is not what this harvest began with.`,
    'Put the text and the tokenizer back, or start again with --overwrite.',
  );
}

import { Refusal } from '../config/refusal.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { NOTHING_BEGUN, throwIfStopped } from '../progress/unless-stopped.js';
import type { Context } from './contexts.js';

/**
 * Positions counted ahead at most: they are kept, 80 MB of them, and tokenizing them takes about ten seconds. A longer
 * corpus shows its end when it comes.
 */
export const LOOK_AHEAD = 20_000_000;

/**
 * Makes sure that the corpus holds enough tokens before the model runs.
 *
 * @param count positions of a context that are wanted
 * @throws Refusal naming how many there are
 */
export async function checkEnoughText(
  contexts: AsyncIterable<Context>,
  count: (context: Context) => number,
  wanted: number,
  corpus: string,
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const enough = Math.min(wanted, LOOK_AHEAD);
  progress.begin('counting tokens', enough, 'token');
  let found = 0;
  for await (const context of contexts) {
    throwIfStopped(stop, NOTHING_BEGUN);
    found += count(context);
    if (context.index % 64 === 0) progress.update(Math.min(found, enough));
    if (found >= enough) break;
  }
  progress.update(Math.min(found, enough));
  progress.end();
  if (found >= enough) return;
  throwIfStopped(stop, NOTHING_BEGUN);
  throw tooFewTokens(corpus, found, wanted);
}

/** The refusal of a corpus that ends too early. */
export function tooFewTokens(corpus: string, found: number, wanted: number, how = ''): Refusal {
  if (found === 0) {
    return new Refusal(`${corpus} does not fill a single context.`, 'Use more text, or a shorter --context.');
  }
  return new Refusal(
    `${corpus} has ${found} tokens in whole contexts (BOS not counted); --tokens asks for ${wanted}.`,
    `Use --tokens ${found}${how && ` ${how}`}, or more text.`,
  );
}

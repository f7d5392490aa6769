import type { Batches } from '../activations/activation-source.js';
import type { Examples } from '../activations/rows.js';

/** The occasion of `Batches.inputs` before the first step; resampling takes its step. */
export const BEFORE = 0;

/** Batches whose inputs before the first step are read once, however often they are looked at. */
export interface LookedAtOnce extends Batches {
  /** Lets go of what was read; further looks read again. To be called before batches are dealt, and when opening a run fails. */
  done(): Promise<void>;
}

/**
 * Several looks at a source before the first step, of one run or of all that share its batches, as one reading: what was
 * read is kept, and a look that goes farther reads on.
 */
export function lookedAtOnce(batches: Batches): LookedAtOnce {
  let pieces: Examples[] = [];
  let rest: AsyncIterator<Examples> | undefined;
  const done = async () => {
    const reading = rest;
    [pieces, rest] = [[], undefined];
    await reading?.return?.();
  };
  /** @returns whether there was a further piece */
  const readOn = async (): Promise<boolean> => {
    rest ??= batches.inputs(BEFORE)[Symbol.asyncIterator]();
    try {
      const next = await rest.next();
      if (!next.done) pieces.push(next.value);
      return !next.done;
    } catch (error) {
      // A generator that has failed would seem to have ended: the next look has to meet the failure itself.
      await done();
      throw error;
    }
  };
  const look = async function* (): AsyncGenerator<Examples> {
    for (let i = 0; i < pieces.length || (await readOn()); i++) yield pieces[i]!;
  };
  return {
    seek: (rows) => batches.seek(rows),
    next: (size, into) => batches.next(size, into),
    inputs: (occasion) => (occasion === BEFORE ? look() : batches.inputs(occasion)),
    textRead: (rows) => batches.textRead?.(rows),
    expectText: (text) => batches.expectText?.(text),
    done,
  };
}

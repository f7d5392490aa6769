import type { Batches } from '../activations/activation-source.js';
import type { Examples } from '../activations/rows.js';

/** The occasion of `Batches.inputs` before the first step; resampling takes its step. */
export const BEFORE = 0;

/** Batches whose inputs before the first step are read once, however often they are sampled. */
export interface SampledOnce extends Batches {
  /** Frees what was read; later samples read again. Call it before dealing batches, and when opening a run fails. */
  done(): Promise<void>;
}

/**
 * Reads a source once for all samples before the first step, of one run or of all runs that share its batches: what was
 * read is kept, and a larger sample reads on.
 */
export function sampledOnce(batches: Batches): SampledOnce {
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
      // A failed generator would seem to have ended: the next sample must meet the failure itself.
      await done();
      throw error;
    }
  };
  const sample = async function* (): AsyncGenerator<Examples> {
    for (let i = 0; i < pieces.length || (await readOn()); i++) yield pieces[i]!;
  };
  return {
    seek: (rows) => batches.seek(rows),
    next: (size, into) => batches.next(size, into),
    inputs: (occasion) => (occasion === BEFORE ? sample() : batches.inputs(occasion)),
    textRead: (rows) => batches.textRead?.(rows),
    expectText: (text) => batches.expectText?.(text),
    done,
  };
}

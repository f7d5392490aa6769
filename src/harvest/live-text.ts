import type { TextRead } from '../activations/activation-source.js';
import type { Context } from '../corpus/contexts.js';
import { corporaRead } from '../corpus/read-tally.js';
import { TextHash } from './assemble.js';

/** The text of windows from a corpus that is reread when it ends: its hash, and what was read of it. */
export class LiveText {
  private readonly hash = new TextHash();
  /** Counts of the earlier readings, and of this one so far. */
  private before: Float64Array | undefined;
  private now: Float64Array | undefined;

  /** @param corpora their names */
  constructor(private readonly corpora: readonly string[]) {}

  add(contexts: readonly Context[]): void {
    this.hash.add(contexts);
    for (const { index, read } of contexts) {
      if (index === 0 && this.now) {
        this.before = this.sum(this.now);
        this.now = undefined;
      }
      this.now = read ?? this.now;
    }
  }

  /** The hash of everything added so far; more may be added. */
  soFar(): Omit<TextRead, 'rows'> {
    const sha256 = this.hash.digest();
    return this.now ? { sha256, corpora: corporaRead(this.sum(this.now), this.corpora) } : { sha256 };
  }

  private sum(figures: Float64Array): Float64Array {
    return figures.map((figure, i) => figure + (this.before?.[i] ?? 0));
  }
}

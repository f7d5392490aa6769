import { createHash } from 'node:crypto';
import type { Context } from '../corpus/contexts.js';

/** SHA-256 over the contexts of a text, in order: their tokens, and the documents these came from. */
export class TextHash {
  private readonly hash = createHash('sha256');

  add(contexts: readonly Context[]): void {
    for (const { tokens, documents } of contexts) this.hash.update(tokens).update(documents);
  }

  /** Of all that has been added; more may come. */
  digest(): string {
    return this.hash.copy().digest('hex');
  }
}

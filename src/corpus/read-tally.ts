import { createHash } from 'node:crypto';
import type { z } from 'zod';
import type { corporaReadSchema } from '../sae/training-record.js';

/** What was read of one corpus. */
type CorpusRead = z.infer<typeof corporaReadSchema>[number];

/** Figures of a corpus: documents that were begun, documents that were read to their end, tokens, duplicates. */
const FIGURES = 4;
const [BEGUN, ENDED, TOKENS, DUPLICATES] = [0, 1, 2, 3] as const;

/** Counts what is read of each corpus, and recognizes documents that come again. */
export class ReadTally {
  private readonly figures: Float64Array<ArrayBuffer>;
  private readonly known = new KnownDocuments();
  private hash = createHash('sha256');
  private at = 0;

  constructor(corpora: number) {
    this.figures = new Float64Array(corpora * FIGURES);
  }

  /** @param corpus number of the corpus that the document is of */
  begin(corpus = 0): void {
    this.at = corpus * FIGURES;
    this.hash = createHash('sha256');
  }

  /** A piece of the document, as text or as tokens. */
  content(piece: string | Int32Array): void {
    this.hash.update(piece);
  }

  /** The document's first token is there. */
  hasToken(): void {
    this.figures[this.at + BEGUN]!++;
  }

  tokens(count: number): void {
    this.figures[this.at + TOKENS]! += count;
  }

  /** The document, which had a token, is over. */
  end(): void {
    this.figures[this.at + ENDED]!++;
    const digest = this.hash.digest();
    if (this.known.has(digest.readUInt32LE(0), digest.readUInt32LE(4))) this.figures[this.at + DUPLICATES]!++;
  }

  /** All figures so far, [corpora × FIGURES]. */
  soFar(): Float64Array<ArrayBuffer> {
    return this.figures.slice();
  }
}

/** Figures of a tally by corpus. */
export function corporaRead(figures: Float64Array, names: readonly string[]): CorpusRead[] {
  return names.map((corpus, i) => {
    const of = (figure: number) => figures[i * FIGURES + figure]!;
    const [documents, tokens, duplicates] = [of(BEGUN), of(TOKENS), of(DUPLICATES)];
    return { corpus, documents, tokens, duplicates, truncated: documents - of(ENDED) };
  });
}

/** What was read, a line per corpus. */
export function readInWords(read: readonly CorpusRead[]): string[] {
  const known = read.reduce((sum, { documents }) => sum + documents, 0);
  const among = known > MOST_KNOWN ? ` (of the first ${MOST_KNOWN} different ones)` : '';
  return read.map(({ corpus, documents, tokens, duplicates, truncated }) => {
    const cut = truncated > 0 ? `, ${truncated} of them in part` : '';
    const again = duplicates > 0 ? `; ${duplicates} came again${among}` : '';
    return `Read of ${corpus}: ${tokens} tokens of ${documents} ${documents === 1 ? 'document' : 'documents'}${cut}${again}.`;
  });
}

/** Documents that are remembered, at most: 64 MiB. Later ones are compared with these. */
export const MOST_KNOWN = 2 ** 22;
/** Memory of a document that is remembered, at most. */
export const KNOWN_BYTES = 16;

/** Hashes of 64 bits, in a table that doubles when it is half full. */
class KnownDocuments {
  private table = new Uint32Array(2 ** 12);
  private size = 0;

  /** Is it known? Else it is from now on, as long as there is room. */
  has(high: number, low: number): boolean {
    // Two zeros are a free place.
    const second = high === 0 && low === 0 ? 1 : low;
    const at = this.placeOf(this.table, high, second);
    if (this.table[at] !== 0 || this.table[at + 1] !== 0) return true;
    if (this.size === MOST_KNOWN) return false;
    this.table[at] = high;
    this.table[at + 1] = second;
    if (++this.size * 4 > this.table.length) this.grow();
    return false;
  }

  private placeOf(table: Uint32Array, high: number, low: number): number {
    const mask = table.length - 1;
    let at = (low * 2) & mask;
    while ((table[at] !== high || table[at + 1] !== low) && (table[at] !== 0 || table[at + 1] !== 0)) {
      at = (at + 2) & mask;
    }
    return at;
  }

  private grow(): void {
    const larger = new Uint32Array(this.table.length * 2);
    for (let i = 0; i < this.table.length; i += 2) {
      const [high, low] = [this.table[i]!, this.table[i + 1]!];
      if (high !== 0 || low !== 0) larger.set([high, low], this.placeOf(larger, high, low));
    }
    this.table = larger;
  }
}

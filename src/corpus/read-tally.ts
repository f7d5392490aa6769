import { createHash } from 'node:crypto';
import type { z } from 'zod';
import type { corporaReadSchema } from '../sae/training-record.js';

/** What was read from one corpus. */
type CorpusRead = z.infer<typeof corporaReadSchema>[number];

/** Figures of a corpus: documents started, documents read completely, tokens, duplicates. */
const FIGURES = 4;
const [BEGUN, ENDED, TOKENS, DUPLICATES] = [0, 1, 2, 3] as const;

/** Counts what is read from each corpus and recognises repeated documents. */
export class ReadTally {
  private readonly figures: Float64Array<ArrayBuffer>;
  private known = new KnownDocuments();
  private document = new DocumentHash();
  private at = 0;

  constructor(corpora: number) {
    this.figures = new Float64Array(corpora * FIGURES);
  }

  /** Everything counted before, if reading resumes. */
  continueFrom({ figures, known }: Counted): void {
    this.figures.set(figures);
    this.known = new KnownDocuments(known);
  }

  /** @param corpus number of the document's corpus */
  begin(corpus = 0): void {
    this.at = corpus * FIGURES;
    this.document = new DocumentHash();
  }

  /** @param bos excluded, since it may be prepended to documents and contexts */
  content(tokens: Int32Array, bos?: number): void {
    this.document.add(tokens, bos);
  }

  /** Call at the document's first token. */
  hasToken(): void {
    this.figures[this.at + BEGUN]!++;
  }

  tokens(count: number): void {
    this.figures[this.at + TOKENS]! += count;
  }

  /** Call at the end of a document that had a token. */
  end(): void {
    this.figures[this.at + ENDED]!++;
    if (this.known.has(...this.document.digest())) this.figures[this.at + DUPLICATES]!++;
  }

  /** Tokens read so far, of all corpora. */
  get allTokens(): number {
    return this.figures.reduce((sum, count, i) => sum + (i % FIGURES === TOKENS ? count : 0), 0);
  }

  /** All figures so far, [corpora × FIGURES]. */
  soFar(): Float64Array<ArrayBuffer> {
    return this.figures.slice();
  }
}

/** State of a tally. */
export interface Counted {
  /** [corpora × FIGURES] */
  readonly figures: Float64Array;
  /** Hashes of the known documents, two numbers each, in the table layout of KnownDocuments. */
  readonly known: Uint32Array;
}

/** Hash of a document: of its tokens, excluding BOS. */
class DocumentHash {
  private readonly hash = createHash('sha256');

  add(tokens: Int32Array, bos?: number): void {
    this.hash.update(bos !== undefined && tokens.includes(bos) ? tokens.filter((id) => id !== bos) : tokens);
  }

  /** Its first 64 bits. */
  digest(): [number, number] {
    const digest = this.hash.digest();
    return [digest.readUInt32LE(0), digest.readUInt32LE(4)];
  }
}

/** Hashes of the documents in contexts made before, in order. */
export class DocumentsOfContexts {
  private readonly hashes = new KnownDocuments();
  /** Number of the last document. */
  last = -1;
  private open: DocumentHash | undefined;

  /** @param bos as in ReadTally.content */
  constructor(private readonly bos?: number) {}

  add({ tokens, documents }: { readonly tokens: Int32Array; readonly documents: Uint32Array }): void {
    for (let from = 0; from < tokens.length; ) {
      const document = documents[from]!;
      let to = from + 1;
      while (to < tokens.length && documents[to] === document) to++;
      if (document !== this.last) {
        this.end();
        this.last = document;
        this.open = new DocumentHash();
      }
      this.open!.add(tokens.subarray(from, to), this.bos);
      from = to;
    }
  }

  /** Call at the end: the last document is complete, too. */
  end(): void {
    if (this.open) this.hashes.has(...this.open.digest());
    this.open = undefined;
  }

  /** Hashes of the completed documents. */
  get known(): Uint32Array {
    return this.hashes.table;
  }
}

/** Figures of one corpus in a tally's layout. */
export function figuresRead(read: readonly CorpusRead[]): Float64Array {
  return Float64Array.from(
    read.flatMap(({ documents, tokens, duplicates, truncated }) => [
      documents,
      documents - truncated,
      tokens,
      duplicates,
    ]),
  );
}

/** Figures of a tally by corpus. */
export function corporaRead(figures: Float64Array, names: readonly string[]): CorpusRead[] {
  return names.map((corpus, i) => {
    const of = (figure: number) => figures[i * FIGURES + figure]!;
    const [documents, tokens, duplicates] = [of(BEGUN), of(TOKENS), of(DUPLICATES)];
    return { corpus, documents, tokens, duplicates, truncated: documents - of(ENDED) };
  });
}

/** What was read, one line per corpus. */
export function readInWords(read: readonly CorpusRead[]): string[] {
  const known = read.reduce((sum, { documents }) => sum + documents, 0);
  const among = known > MOST_KNOWN ? ` (of the first ${MOST_KNOWN} different ones)` : '';
  return read.map(({ corpus, documents, tokens, duplicates, truncated }) => {
    const cut = truncated > 0 ? `, ${truncated} of them only in part` : '';
    const again =
      duplicates > 0
        ? `; ${duplicates} ${duplicates === 1 ? 'is a copy' : 'are copies'} of an earlier one${among}`
        : '';
    return `Read of ${corpus}: ${tokens} tokens of ${documents} ${documents === 1 ? 'document' : 'documents'}${cut}${again}.`;
  });
}

/** Max documents to remember: 64 MiB. Later ones are compared with these. */
export const MOST_KNOWN = 2 ** 22;
/** Max memory per remembered document. */
export const KNOWN_BYTES = 16;

/** 64-bit hashes in a table that doubles when half full. */
class KnownDocuments {
  private size = 0;

  /** @param table initial contents */
  constructor(public table: Uint32Array = new Uint32Array(2 ** 12)) {
    for (let i = 0; i < table.length; i += 2) if (table[i] !== 0 || table[i + 1] !== 0) this.size++;
  }

  /** Is it known? If not, it is added while there is room. */
  has(high: number, low: number): boolean {
    // Two zeros mark a free slot.
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

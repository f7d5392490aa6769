/** Characters of a remembered word, and its tokens, at most. */
const LONGEST = 64;
/** Words of a generation: a generation is let go of when two newer ones are full. */
const WORDS = 2 ** 15;
/** Tokens of a generation. */
const TOKENS = 2 ** 18;
/** A word's place is begin × COUNTS + count. */
const COUNTS = 128;

interface Generation {
  readonly words: Map<string, number>;
  readonly tokens: Int32Array;
  used: number;
}

const generation = (): Generation => ({ words: new Map(), tokens: new Int32Array(TOKENS), used: 0 });

/** The tokens of words met lately, within bounded memory. */
export class WordMemory {
  private young = generation();
  private old = generation();
  /** Where the tokens of the word last found are. */
  tokens = this.young.tokens;
  from = 0;
  to = 0;

  find(word: string): boolean {
    let place = this.young.words.get(word);
    let held = this.young;
    if (place === undefined) {
      place = this.old.words.get(word);
      held = this.old;
      if (place === undefined) return false;
    }
    this.tokens = held.tokens;
    this.from = Math.floor(place / COUNTS);
    this.to = this.from + (place % COUNTS);
    if (held === this.old) this.keep(word, held.tokens, this.from, this.to - this.from);
    return true;
  }

  /** Keeps tokens[from..from + count) for the word, where it is not too long. */
  keep(word: string, tokens: Int32Array, from: number, count: number): void {
    if (word.length > LONGEST || count >= COUNTS) return;
    if (this.young.words.size >= WORDS || this.young.used + count > TOKENS) {
      this.old = this.young;
      this.young = generation();
    }
    const { young } = this;
    young.tokens.set(tokens.subarray(from, from + count), young.used);
    young.words.set(copy(word), young.used * COUNTS + count);
    young.used += count;
  }
}

/** A part of a string holds on to the whole; the copy does not. */
function copy(word: string): string {
  return Buffer.from(word, 'utf16le').toString('utf16le');
}

import type { Recipe } from './recipe.js';

/** No pair at this position merges. */
const NEVER = 0x7fffffff;
/** Max number of symbols for which a linear search for the lowest rank is cheaper than a heap. */
const FEW = 40;
/** A heap entry is rank × PLACES + position, exact as a double. */
const PLACES = 2 ** 25;

/** The characters of a text as tokens, merged in place. */
export class Merging {
  private readonly table: MergeTable;
  /** Token ids of single UTF-16 units, −1 if none, and of characters beyond the BMP. */
  private readonly units: Int32Array;
  private readonly beyond: ReadonlyMap<number, number>;
  private readonly bytes: Int32Array;
  private readonly utf8 = new Uint8Array(4);
  private readonly encoder = new TextEncoder();

  // State for the current text; `symbols` are its tokens, initially one per character.
  private symbols = new Int32Array(64);
  private ranks = new Int32Array(64);
  private slots = new Int32Array(64);
  private nexts = new Int32Array(0);
  private previous = new Int32Array(0);
  private heap = new Float64Array(0);
  private heaped = 0;

  constructor(
    { merges, vocabulary, bytes }: Pick<Recipe, 'merges' | 'vocabulary' | 'bytes'>,
    /** [65536] normal form of each unit */
    private readonly normalized: Uint16Array,
  ) {
    this.table = new MergeTable(merges);
    this.bytes = bytes;
    const units = new Int32Array(65_536).fill(-1);
    const beyond = new Map<number, number>();
    for (const [token, id] of vocabulary) {
      if (token.length === 1) units[token.charCodeAt(0)] = id;
      else if (token.length === 2 && token.codePointAt(0)! > 0xffff) beyond.set(token.codePointAt(0)!, id);
    }
    // A lone surrogate is not a character: it is encoded as the bytes of U+FFFD.
    units.fill(-1, 0xd800, 0xe000);
    // Normal form of a unit.
    this.units = Int32Array.from(normalized, (unit) => units[unit]!);
    this.beyond = beyond;
  }

  /**
   * Merges text[from..to) and returns the number of its tokens, which are in `tokens` until the next call.
   *
   * @param starts receives the start of each token in the text; −1 for the second and later bytes of a character
   */
  run(text: string, from: number, to: number, starts?: Int32Array): number {
    this.reserve(4 * (to - from));
    const count = this.spell(text, from, to, starts);
    return count <= FEW ? this.mergeFew(count, starts) : this.mergeMany(count, starts);
  }

  get tokens(): Int32Array {
    return this.symbols;
  }

  private reserve(size: number): void {
    if (this.symbols.length >= size) return;
    const room = 2 ** Math.ceil(Math.log2(size));
    [this.symbols, this.ranks, this.slots] = [new Int32Array(room), new Int32Array(room), new Int32Array(room)];
  }

  /** Writes the tokens of the characters; characters missing from the vocabulary become bytes. */
  private spell(text: string, from: number, to: number, starts: Int32Array | undefined): number {
    const { units, symbols } = this;
    let count = 0;
    for (let i = from; i < to; i++) {
      const id = units[text.charCodeAt(i)]!;
      if (id >= 0) {
        if (starts) starts[count] = i;
        symbols[count++] = id;
        continue;
      }
      const point = text.codePointAt(i)!;
      const pair = point > 0xffff && i + 1 < to;
      const whole = pair ? this.beyond.get(point) : undefined;
      if (whole !== undefined) {
        if (starts) starts[count] = i;
        symbols[count++] = whole;
      } else count = this.spellBytes(pair ? point : this.normalized[text.charCodeAt(i)]!, i, count, starts);
      if (pair) i++;
    }
    return count;
  }

  private spellBytes(point: number, at: number, count: number, starts: Int32Array | undefined): number {
    const { written } = this.encoder.encodeInto(String.fromCodePoint(point), this.utf8);
    for (let k = 0; k < written; k++) {
      if (starts) starts[count + k] = k === 0 ? at : -1;
      this.symbols[count + k] = this.bytes[this.utf8[k]!]!;
    }
    return count + written;
  }

  /** Looks up the pair that starts at `at` and continues at `next`. */
  private look(at: number, next: number): void {
    const { table, symbols, ranks, slots } = this;
    const slot = table.find(symbols[at]!, symbols[next]!);
    ranks[at] = table.has(slot) ? table.rank(slot) : NEVER;
    slots[at] = slot;
  }

  private mergeFew(length: number, starts: Int32Array | undefined): number {
    const { symbols, ranks, slots, table } = this;
    let count = length;
    for (let i = 0; i + 1 < count; i++) this.look(i, i + 1);
    for (;;) {
      let at = -1;
      let least = NEVER;
      for (let i = 0; i + 1 < count; i++) {
        if (ranks[i]! < least) {
          least = ranks[i]!;
          at = i;
        }
      }
      if (at < 0) return count;
      symbols[at] = table.merged(slots[at]!);
      count--;
      for (let i = at + 1; i < count; i++) {
        symbols[i] = symbols[i + 1]!;
        ranks[i] = ranks[i + 1]!;
        slots[i] = slots[i + 1]!;
        if (starts) starts[i] = starts[i + 1]!;
      }
      if (at > 0) this.look(at - 1, at);
      if (at + 1 < count) this.look(at, at + 1);
    }
  }

  private mergeMany(length: number, starts: Int32Array | undefined): number {
    if (this.nexts.length < length) {
      this.nexts = new Int32Array(this.symbols.length);
      this.previous = new Int32Array(this.symbols.length);
      // Each merge removes one pair and looks up two.
      this.heap = new Float64Array(3 * this.symbols.length);
    }
    const { symbols, ranks, slots, nexts, previous, table } = this;
    this.heaped = 0;
    for (let i = 0; i < length; i++) {
      nexts[i] = i + 1;
      previous[i] = i - 1;
      if (i + 1 < length) this.lookAndPush(i, i + 1);
      else ranks[i] = NEVER;
    }
    while (this.heaped > 0) {
      const entry = this.pop();
      const at = entry % PLACES;
      // The pair may have been merged away meanwhile.
      if (ranks[at] !== (entry - at) / PLACES) continue;
      const next = nexts[at]!;
      symbols[at] = table.merged(slots[at]!);
      ranks[next] = NEVER;
      symbols[next] = -1;
      const after = nexts[next]!;
      nexts[at] = after;
      if (after < length) {
        previous[after] = at;
        this.lookAndPush(at, after);
      } else ranks[at] = NEVER;
      if (previous[at]! >= 0) this.lookAndPush(previous[at]!, at);
    }
    let count = 0;
    for (let i = 0; i < length; i = nexts[i]!) {
      if (starts) starts[count] = starts[i]!;
      symbols[count++] = symbols[i]!;
    }
    return count;
  }

  private lookAndPush(at: number, next: number): void {
    this.look(at, next);
    if (this.ranks[at] !== NEVER) this.push(this.ranks[at]! * PLACES + at);
  }

  private push(entry: number): void {
    const { heap } = this;
    let hole = this.heaped++;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if (heap[parent]! <= entry) break;
      heap[hole] = heap[parent]!;
      hole = parent;
    }
    heap[hole] = entry;
  }

  private pop(): number {
    const { heap } = this;
    const top = heap[0]!;
    const last = heap[--this.heaped]!;
    const count = this.heaped;
    let hole = 0;
    for (let child = 1; child < count; child = 2 * hole + 1) {
      if (child + 1 < count && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= last) break;
      heap[hole] = heap[child]!;
      hole = child;
    }
    heap[hole] = last;
    return top;
  }
}

/** Entries of a slot: left token, right token, rank, merged token. */
const SLOT_FIELDS = 4;
const FREE = -1;

/** Which pairs of tokens merge: an open hash table by both ids; a lookup mostly touches one cache line. */
class MergeTable {
  private readonly slots: Int32Array;
  private readonly mask: number;

  /** @param merges pairs in order of priority, as [left, right, merged, …]; the last of equal pairs wins */
  constructor(merges: Int32Array) {
    const count = merges.length / 3;
    const size = 2 ** Math.ceil(Math.log2(Math.max(16, 1.5 * count)));
    this.mask = size - 1;
    this.slots = new Int32Array(SLOT_FIELDS * size).fill(FREE);
    for (let rank = 0; rank < count; rank++) {
      const [left, right] = [merges[3 * rank]!, merges[3 * rank + 1]!];
      const slot = this.find(left, right);
      this.slots[slot] = left;
      this.slots[slot + 1] = right;
      this.slots[slot + 2] = rank;
      this.slots[slot + 3] = merges[3 * rank + 2]!;
    }
  }

  /** Slot of the pair, for `rank` and `merged`; contains FREE if the pair is absent. */
  find(left: number, right: number): number {
    const { slots, mask } = this;
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash ^= hash >>> 15;
    let slot = hash & mask;
    for (;;) {
      const at = slot * SLOT_FIELDS;
      const there = slots[at]!;
      if (there === FREE || (there === left && slots[at + 1] === right)) return at;
      slot = (slot + 1) & mask;
    }
  }

  has(slot: number): boolean {
    return this.slots[slot] !== FREE;
  }

  rank(slot: number): number {
    return this.slots[slot + 2]!;
  }

  merged(slot: number): number {
    return this.slots[slot + 3]!;
  }
}

const NARROW = 256;
const EMPTY = 0;

/** Which two characters (UTF-16 units, normalized) are adjacent within some token. */
export class Crossings {
  /** For units below NARROW, one byte per pair. */
  private readonly narrow = new Uint8Array(NARROW * NARROW);
  /** For the others, an open hash table; no pair equals EMPTY. */
  private wide = new Int32Array(16);
  private count = 0;

  /** @param units of a token */
  add(units: ArrayLike<number>): void {
    for (let i = 1; i < units.length; i++) this.addPair(units[i - 1]!, units[i]!);
  }

  has(a: number, b: number): boolean {
    if ((a | b) < NARROW) return this.narrow[a * NARROW + b] === 1;
    return this.wide[this.slot((a << 16) | b)] !== EMPTY;
  }

  private addPair(a: number, b: number): void {
    if ((a | b) < NARROW) {
      this.narrow[a * NARROW + b] = 1;
      return;
    }
    const pair = (a << 16) | b;
    const slot = this.slot(pair);
    if (this.wide[slot] !== EMPTY) return;
    this.wide[slot] = pair;
    this.count++;
    if (2 * this.count < this.wide.length) return;
    const before = this.wide;
    this.wide = new Int32Array(2 * before.length);
    for (const held of before) if (held !== EMPTY) this.wide[this.slot(held)] = held;
  }

  private slot(pair: number): number {
    const mask = this.wide.length - 1;
    let hash = Math.imul(pair, 0x9e3779b1);
    hash ^= hash >>> 16;
    let slot = hash & mask;
    while (this.wide[slot] !== EMPTY && this.wide[slot] !== pair) slot = (slot + 1) & mask;
    return slot;
  }
}

/** Max characters of a cached word, and max number of its tokens. */
const LONGEST_WORD = 64;
/** Words per generation; a generation is dropped once two newer ones are full. */
const WORDS_KEPT = 2 ** 15;
/** Tokens per generation. */
const TOKENS_KEPT = 2 ** 18;
/** A word's entry is begin × COUNTS + count. */
const COUNTS = 128;

interface CacheGeneration {
  readonly words: Map<string, number>;
  readonly tokens: Int32Array;
  used: number;
}

const generation = (): CacheGeneration => ({ words: new Map(), tokens: new Int32Array(TOKENS_KEPT), used: 0 });

/** Cache of the tokens of recent words, with bounded memory. */
export class WordMemory {
  private young = generation();
  private old = generation();
  /** Location of the tokens of the word last found. */
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

  /** Caches tokens[from..from + count) for the word, unless it is too long. */
  keep(word: string, tokens: Int32Array, from: number, count: number): void {
    if (word.length > LONGEST_WORD || count >= COUNTS) return;
    if (this.young.words.size >= WORDS_KEPT || this.young.used + count > TOKENS_KEPT) {
      this.old = this.young;
      this.young = generation();
    }
    const { young } = this;
    young.tokens.set(tokens.subarray(from, from + count), young.used);
    young.words.set(copy(word), young.used * COUNTS + count);
    young.used += count;
  }
}

/** A substring keeps the whole string alive; a copy does not. */
function copy(word: string): string {
  return Buffer.from(word, 'utf16le').toString('utf16le');
}
